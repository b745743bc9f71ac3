"""Batches see the same bytes that Arrow holds, whatever way Arrow holds them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.text.batch import TextBatch, from_arrow, from_texts


def texts_of(batch: TextBatch) -> list[str]:
    return [batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes().decode() for i in range(len(batch))]


@given(st.lists(st.text(max_size=6), max_size=6), st.integers(0, 3), st.booleans())
def test_slices_chunks_and_both_string_types_give_their_texts(
    texts: list[str], start: int, large: bool
) -> None:
    array = pa.array(texts, pa.large_string() if large else pa.string())
    assert texts_of(from_arrow(array[start:])) == texts[start:]
    assert texts_of(from_arrow(pa.chunked_array([array[:start], array[start:]]))) == texts
    assert texts_of(from_texts(texts)) == texts


def test_nulls_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 nulls"):
        from_arrow(pa.array(["a", None]))
