"""Ids of many records at once are those of one at a time."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents.ids import document_ids
from millrace.data.documents.shards import document_id


@given(st.text(max_size=300), st.lists(st.text(max_size=150), max_size=5), st.integers(0, 2))
def test_ids_in_columns_are_those_of_single_records(uri: str, keys: list[str], first: int) -> None:
    found = document_ids(uri, pa.array(keys, pa.string())[first:])
    assert found.to_pylist() == [document_id(uri, key) for key in keys[first:]]


def test_a_message_of_whole_blocks_is_hashed_as_one() -> None:
    for size in (126, 127, 128, 255, 256, 257):
        key = "x" * (size - 2)
        assert document_ids("u", pa.array([key])).to_pylist() == [document_id("u", key)]
