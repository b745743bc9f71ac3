"""Filtering by source: bounds, decisions with value and threshold, and failing when too much goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from millrace.components import registry
from millrace.components.contract import ComponentError
from millrace.components.filter import bounds_of, measure
from millrace.components.filter.code import CodeRules
from millrace.components.filter.prose import GopherQuality, GopherRepetition
from millrace.data.documents import document_id, documents_table, read_shards, shard_name, write_shard
from millrace.data.filters.batch import from_texts
from pydantic import ValidationError

PROSE = "The house of the miller stands beside the river and that is where people have bread to buy. "
CODE = "def add(a, b):\n    return a + b\n"


def write(folder: Path, shards: list[list[tuple[str, str]]]) -> Path:
    """Shards of (source, text) pairs."""
    folder.mkdir()
    count = 0
    for index, shard in enumerate(shards):
        rows = []
        for source, text in shard:
            uri = f"made://{count}"
            row = {"doc_id": document_id(uri, ""), "text": text, "source": source, "lang": "en", "uri": uri}
            rows.append(row | {"locator": "", "metadata": "{}"})
            count += 1
        write_shard(folder / shard_name(index), documents_table(rows))
    return folder


def rows(folder: Path) -> list[dict[str, Any]]:
    return pa.concat_tables(read_shards(folder)).to_pylist()


def test_each_source_has_its_own_rules_and_order_is_kept(run_component: Any, tmp_path: Path) -> None:
    long_line = "x = " + "1 + " * 400
    documents = write(
        tmp_path / "in",
        [[("code", CODE), ("docs", "too short")], [("code", long_line), ("licences", "short")], []],
    )
    config = {"rules": {"code": [{"rule": "code"}], "docs": [{"rule": "gopher_quality"}]}}
    result = run_component("filter", config, {"documents": documents})
    assert [row["text"] for row in rows(result.outputs["documents"])] == [CODE, "short"]
    decisions = rows(result.outputs["decisions"])
    assert [row["action"] for row in decisions] == ["keep", "drop", "drop", "keep"]
    assert decisions[1]["rule"] == "gopher_quality.min_words"
    assert decisions[1]["score"] == 2
    evidence = json.loads(decisions[2]["evidence"])
    assert evidence["threshold"] == 100
    assert evidence["also"] == ["code.max_longest_line_characters"]
    assert result.metrics["dropped.gopher_quality.min_words"] == 1


def test_bounds_are_moved_and_switched_off_in_the_spec(run_component: Any, tmp_path: Path) -> None:
    documents = write(tmp_path / "in", [[("docs", "too short of the"), ("docs", PROSE * 3)]])
    for rule, kept in (
        ({"min_words": None}, 1),
        ({"min_words": 4}, 1),
        ({"min_words": 4, "max_words": 10}, 1),
    ):
        config = {"rules": {"docs": [{"rule": "gopher_quality", **rule}]}}
        result = run_component("filter", config, {"documents": documents})
        assert result.metrics["documents_out"] >= kept


def test_every_bound_names_a_measured_value_and_prose_passes_gopher() -> None:
    batch = from_texts([PROSE + "".join(f"Line {i} of the text and so on, {i * i}.\n" for i in range(40))])
    for rule in (
        GopherQuality(rule="gopher_quality"),
        GopherRepetition(rule="gopher_repetition"),
        CodeRules(rule="code"),
    ):
        values = measure(rule, batch)
        assert {bound.value for bound in bounds_of(rule)} <= set(values)
    assert not any(bound.broken(measure(rule, batch)[bound.value]).any() for bound in bounds_of(rule))


def test_a_corpus_that_filters_to_nothing_fails_and_names_the_rule(
    run_component: Any, tmp_path: Path
) -> None:
    documents = write(tmp_path / "in", [[("docs", "too short")] * 3])
    config = {"rules": {"docs": [{"rule": "gopher_quality"}]}, "max_drop_fraction": 1.0}
    with pytest.raises(
        ComponentError, match=r"3 of 3 documents.*gopher_quality\.min_words dropped most \(3\)"
    ):
        run_component("filter", config, {"documents": documents})


def test_rules_for_a_source_that_does_not_come_in_fail(run_component: Any, tmp_path: Path) -> None:
    documents = write(tmp_path / "in", [[("docs", PROSE)]])
    with pytest.raises(ComponentError, match=r"got rules for source 'doc', expected .*: docs"):
        run_component("filter", {"rules": {"doc": [{"rule": "code"}]}}, {"documents": documents})


def test_a_typo_in_a_threshold_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_wrods"):
        registry.get("filter").config.model_validate(
            {"rules": {"docs": [{"rule": "gopher_quality", "min_wrods": 1}]}}
        )
