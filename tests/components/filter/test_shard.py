"""One shard of filter: slices do not matter, the first broken bound decides, and the evidence is JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from millrace.components.filter import shard
from millrace.components.filter.rule import Rule
from millrace.components.filter.rules.registry import AnyRule
from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard


def rules(*own: dict[str, Any]) -> list[Rule]:
    return [*TypeAdapter(list[AnyRule]).validate_python(list(own))]


def run(
    folder: Path, documents: list[tuple[str, str]], own: dict[str, list[Rule]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Documents and decisions of a shard of (source, text) pairs, and what it tells."""
    folders = (str(folder / "documents"), str(folder / "decisions"))
    for path in folders:
        Path(path).mkdir(parents=True)
    rows = [
        {"doc_id": document_id(str(n), ""), "text": text, "source": source, "uri": str(n)}
        | {"lang": "xx", "locator": "", "metadata": "{}"}
        for n, (source, text) in enumerate(documents)
    ]
    write_shard(folder / "in.parquet", documents_table(rows))
    told = shard.filter_shard(own, {}, folders, (5, str(folder / "in.parquet")))
    kept, decided = (pq.read_table(Path(path) / shard_name(5)).to_pylist() for path in folders)
    return kept, decided, told


def test_rules_of_a_source_and_of_all_others() -> None:
    own = {"a": rules({"rule": "length"}), "*": rules({"rule": "code"})}
    assert [shard.rules_of(own, source) for source in ("a", "b")] == [own["a"], own["*"]]
    assert list(shard.rules_of({"a": own["a"]}, "b")) == []


def test_the_first_broken_bound_decides_and_the_others_are_told(tmp_path: Path) -> None:
    own = {
        "*": rules({"rule": "length", "min_words": 3, "min_bytes": 20}, {"rule": "words", "words": ["bad"]})
    }
    texts = ["bad one", "a text that is long enough to stay", "a bad text that is long enough to stay"]
    kept, decided, told = run(tmp_path, [("s", text) for text in texts], own)
    assert [row["text"] for row in kept] == [texts[1]]
    assert [(row["action"], row["rule"]) for row in decided] == [
        ("drop", "length.min_bytes"),
        ("keep", "passed"),
        ("drop", "words.max_listed_count"),
    ]
    first, _, last = (json.loads(row["evidence"] or "{}") for row in decided)
    assert (first["threshold"], first["value"]) == (20, 7)
    assert set(first["also"]) == {"length.min_words", "words.max_listed_count"}
    assert "also" not in last
    assert sum(bound["dropped"] for bound in told["findings"]["s"]["bounds"]) == 2


def test_a_later_rule_sees_the_language_and_the_text_that_earlier_ones_left(tmp_path: Path) -> None:
    own = {"*": rules({"rule": "pii"}, {"rule": "language"}, {"rule": "words", "words": ["email"]})}
    text = "Please write a letter to ann@mill.org as soon as the wheel of the old mill stands still."
    kept, (decision,), _ = run(tmp_path, [("s", text)], own)
    assert (kept, decision["rule"]) == ([], "words.max_listed_count")
    assert json.loads(decision["evidence"])["edited"] == {"pii.email": 1}
    own["*"] = own["*"][:2]
    (row,), (decision,), _ = run(tmp_path / "again", [("s", text)], own)
    assert (row["lang"], "<EMAIL>" in row["text"], decision["action"]) == ("en", True, "edit")


def test_sources_without_rules_and_the_order_of_documents_stay(tmp_path: Path) -> None:
    documents = [("b", "one"), ("a", "two words"), ("c", "three"), ("a", "four"), ("b", "five words")]
    kept, decided, told = run(tmp_path, documents, {"a": rules({"rule": "length", "min_words": 2})})
    assert [(row["source"], row["text"]) for row in kept] == [*documents[:3], documents[4]]
    assert len(decided) == len(documents)
    assert list(told["findings"]) == ["a"]
    assert {row["lang"] for row in kept} == {"xx"}


@pytest.mark.parametrize("size", [1, 30, 1 << 20])
def test_the_size_of_slices_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    own = {"*": rules({"rule": "length", "min_words": 2}, {"rule": "pii"})}
    documents = [("s", text) for text in ("one", "", "a@mill.org and b@mill.org", "two words", "x " * 40)]
    whole = run(tmp_path / "whole", documents, own)
    monkeypatch.setattr(shard, "SLICE_BYTES", size)
    assert run(tmp_path / "cut", documents, own) == whole


@given(st.lists(st.integers(0, 3 << 19), max_size=30))
def test_slices_are_runs_of_about_a_megabyte_with_every_document_once(sizes: list[int]) -> None:
    offsets = np.cumsum([0, *sizes])
    found = list(shard.slices(offsets))
    assert [row for first, end in found for row in range(first, end)] == list(range(len(sizes)))
    for first, end in found:
        assert offsets[end] - offsets[first] <= shard.SLICE_BYTES or end == first + 1
        assert end == len(sizes) or offsets[end + 1] - offsets[first] > shard.SLICE_BYTES
