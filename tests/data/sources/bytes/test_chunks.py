"""Chunks: every record and every malformed one once, in order, however they were gathered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents.shards import DOCUMENTS, document_id
from millrace.data.sources.bytes import chunks as chunking
from millrace.data.sources.bytes.chunks import chunks, hash_fractions
from millrace.data.sources.records import Batch, Item, Malformed, Record


def record(name: str, text: str = "text") -> Record:
    return Record("uri", f"at {name}", name, text, "en", {"b": 1, "a": name}, held_out=name == "h")


def batch(*names: str) -> Batch:
    texts = pa.array([f"of {name}" for name in names], pa.large_string())
    return Batch("uri", pa.array([f"at {name}" for name in names]), pa.array(names, pa.string()), texts, "de")


ITEMS = st.lists(
    st.one_of(
        st.just("record"),
        st.just("malformed"),
        st.integers(0, 3),  # a batch of so many
    ),
    max_size=12,
)


def made(kinds: list[str | int]) -> list[Item]:
    items: list[Item] = []
    for number, kind in enumerate(kinds):
        if kind == "record":
            items.append(record(str(number)))
        elif kind == "malformed":
            items.append(Malformed("uri", str(number), "got nothing"))
        else:
            items.append(batch(*(f"{number}-{row}" for row in range(int(kind)))))
    return items


def order(items: list[Item]) -> list[str]:
    """Locators in order, malformed ones with an exclamation mark."""
    found = []
    for item in items:
        if isinstance(item, Batch):
            found += item.locators.to_pylist()
        else:
            found.append(("!" if isinstance(item, Malformed) else "") + item.locator)
    return found


@given(ITEMS, st.sampled_from([0, 2, 4096]))
def test_nothing_is_lost_or_moved(kinds: list[str | int], gathered: int) -> None:
    items = made(kinds)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "GATHERED_ITEMS", gathered)
        for chunk in chunks(items, "web"):
            assert chunk.documents.schema == DOCUMENTS
            rows = chunk.documents["locator"].to_pylist()
            assert len(chunk.sizes) == len(chunk.is_held_out) == len(rows)
            bad = list(chunk.malformed)
            for place in range(len(rows) + 1):
                found += [f"!{item.locator}" for at, item in bad if at == place]
                found += rows[place : place + 1]
    assert found == order(items)


def test_a_record_has_its_id_size_source_and_sorted_metadata() -> None:
    (chunk,) = chunks([record("h", "Größe")], "web")
    (row,) = chunk.documents.to_pylist()
    assert row["doc_id"] == document_id("uri", "h")
    assert (row["source"], row["lang"], row["text"]) == ("web", "en", "Größe")
    assert row["metadata"] == json.dumps({"a": "h", "b": 1})
    assert (chunk.sizes.tolist(), chunk.is_held_out.tolist()) == ([7], [True])


def test_a_batch_has_the_ids_that_its_records_would_have() -> None:
    (chunk,) = chunks([batch("x", "y")], "web")
    assert chunk.documents["doc_id"].to_pylist() == [document_id("uri", key) for key in "xy"]
    assert chunk.documents["lang"].to_pylist() == ["de", "de"]


def test_fractions_are_eight_hex_digits_of_an_id() -> None:
    ids = pa.array([document_id("u", str(number)) for number in range(500)])
    for first in (0, 8):
        expected = [int(name[first : first + 8], 16) / 2**32 for name in ids.to_pylist()]
        assert hash_fractions(ids, first).tolist() == expected
    one, other = hash_fractions(ids, 0), hash_fractions(ids, 8)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


@pytest.mark.parametrize(
    "changes",
    [
        {"uri": "a\udcff.txt"},
        {"locator": "\ud800"},
        {"key": "\udfff"},
        {"text": "x\ud83d"},
        {"lang": "\ud800"},
        {"metadata": {"a": [{"b": "\ud800"}]}},
        {"metadata": {"\ud800": 1}},
    ],
)
def test_half_a_surrogate_pair_in_any_string_makes_only_its_record_malformed(changes: dict[str, Any]) -> None:
    found = list(chunks([record("a"), replace(record("b"), **changes), record("c")], "s"))
    assert [row for chunk in found for row in chunk.documents["locator"].to_pylist()] == ["at a", "at c"]
    [(place, bad)] = [pair for chunk in found for pair in chunk.malformed]
    assert (place, bad.rule) == (1, "malformed")
    assert bad.problem.startswith("got half of a surrogate pair")
    assert f"{bad.uri} {bad.locator}".encode()


def test_a_malformed_record_names_half_a_surrogate_pair_by_its_escape() -> None:
    [chunk] = chunks([Malformed("a\udcff", "0", "got columns \ud800")], "s")
    assert chunk.malformed == [(0, Malformed("a\\udcff", "0", "got columns \\ud800"))]
