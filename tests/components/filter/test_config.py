"""Filter's configuration: the files of its rules count for reuse, and a classifier has to come from somewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from millrace.components.filter.config import FilterConfig, fingerprint, misfits


def config(**rules: list[dict[str, Any]]) -> FilterConfig:
    return FilterConfig.model_validate({"rules": rules, "max_drop_fraction": 1.0})


def test_every_file_that_a_rule_reads_counts_once(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("words", "domains", "soft", "parts")}
    for path in paths.values():
        path.write_text("one\n")
    url = {"rule": "url", "domains_file": str(paths["domains"]), "soft_words_file": str(paths["soft"])}
    found = config(
        a=[{"rule": "words", "words_file": str(paths["words"])}, {**url, "parts_file": str(paths["parts"])}],
        b=[{"rule": "words", "words_file": str(paths["words"])}],
    )
    before = fingerprint(found)
    assert [Path(entry[0]).name for entry in before] == ["domains", "parts", "soft", "words"]
    paths["soft"].write_text("another\n")
    os.utime(paths["parts"], (1, 1))
    after = fingerprint(found)
    changed = [Path(old[0]).name for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["parts", "soft"]
    assert fingerprint(config(a=[{"rule": "words", "words": ["x"]}])) == []


ASKS = {"rule": "classifier", "classifier": "quality", "min_probability": 0.5}


@pytest.mark.parametrize(
    ("rules", "ports", "named"),
    [
        ([ASKS], ("documents",), "got the rule classifier with quality"),
        ([{**ASKS, "classifier": "b"}, {**ASKS, "classifier": "a"}], ("documents",), "with a, b,"),
        ([ASKS], ("documents", "classifiers"), None),
        ([{"rule": "length", "min_words": 1}], ("documents",), None),
    ],
)
def test_a_classifier_without_an_input_is_told_before_anything_runs(
    rules: list[dict[str, Any]], ports: tuple[str, ...], named: str | None
) -> None:
    found = list(misfits(config(web=rules), ports))
    assert len(found) == (named is not None)
    assert all(str(named) in text and "STAGE.classifier" in text for text in found)
