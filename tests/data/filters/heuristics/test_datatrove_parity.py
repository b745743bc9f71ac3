"""Our rules decide as datatrove's filters did on recorded texts, for the same reason and with the same text left."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
RECORD = Path(__file__).with_name("datatrove.json")


@pytest.fixture(scope="module")
def parity() -> Any:
    """The module of benchmarks/ that made the record."""
    spec = importlib.util.spec_from_file_location("filter_parity", ROOT / "benchmarks" / "filter_parity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(RECORD.read_text("utf-8"))
    return rows


def test_decision_reason_and_text_are_datatroves(parity: Any, record: list[dict[str, Any]]) -> None:
    found = parity.ours([row["input"] for row in record])
    expected = [{key: value for key, value in row.items() if key != "input"} for row in record]
    assert found == expected


def test_the_record_has_many_kept_and_dropped_texts_for_each_filter(
    parity: Any, record: list[dict[str, Any]]
) -> None:
    for name in parity.REASONS:
        dropped = [row[name] for row in record if row[name] is not None]
        assert len(record) / 10 < len(dropped) < len(record) * 0.9
        assert len(set(dropped)) >= 3
