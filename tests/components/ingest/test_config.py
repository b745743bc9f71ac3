"""Ingest's configuration: every source has its fingerprint under its name, and a mistake names its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.contract import ComponentError
from millrace.components.ingest.config import IngestConfig, fingerprint


def config(**sources: dict[str, Any]) -> IngestConfig:
    return IngestConfig.model_validate({"sources": sources})


def test_a_fingerprint_changes_for_the_source_whose_files_change(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    made = config(**{name: {"type": "files", "paths": str(tmp_path / f"{name}.txt")} for name in "ba"})
    before = fingerprint(made)
    assert list(before) == ["a", "b"]
    (tmp_path / "b.txt").write_text("longer")
    after = fingerprint(made)
    assert (after["a"] == before["a"], after["b"] == before["b"]) == (True, False)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="source mine: got repository"):
        fingerprint(config(mine={"type": "git", "repository": str(tmp_path / "nothing")}))


@pytest.mark.parametrize("name", ["", "Web", "9a", "a b", "a" * 65])
def test_a_name_is_one_that_paths_and_columns_can_have(name: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        config(**{name: {"type": "files", "paths": "a"}})


def test_there_is_a_source() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        config()
