"""Packing loses nothing, overfills nothing, and tells the examples of a row apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.training.packing import fill, pack, segments


@given(lengths=st.lists(st.integers(1, 50), max_size=80), seed=st.integers(0, 9))
def test_every_example_is_packed_once(lengths: list[int], seed: int) -> None:
    """Rows hold each example once and never more tokens than they have room; few rows are under half full."""
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    rows = pack(lengths, order, 50)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    sizes = [sum(lengths[index] for index in row) for row in rows]
    assert all(size <= 50 for size in sizes)
    assert sum(size <= 25 for size in sizes) <= 1 + len(rows) // 65


def test_an_example_longer_than_a_row_is_refused() -> None:
    """It would never fit."""
    with pytest.raises(ValueError, match="51 tokens, expected at most 50"):
        pack([51], [0], 50)


def test_a_batch_holds_its_rows_in_segments() -> None:
    """Tokens, segments, positions and learnt tokens line up; the rest is padding that nothing learns."""
    examples = [([5, 6, 7], [True, False, True]), ([8, 9], [False, True])]
    batch = fill(examples, [[1, 0]], batch_size=2, row_tokens=6, pad_id=1)
    assert batch["tokens"].tolist() == [[8, 9, 5, 6, 7, 1], [1] * 6]
    assert batch["segments"].tolist() == [[1, 1, 2, 2, 2, 0], [0] * 6]
    assert batch["positions"].tolist() == [[0, 1, 0, 1, 2], [0] * 5]
    assert batch["learn"].tolist() == [[False, True, False, False, True, False], [False] * 6]


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20), data=st.data())
def test_a_row_of_a_stream_falls_apart_at_document_starts(lengths: list[int], data: st.DataObject) -> None:
    """As inputs, tokens belong to the document of the token after them, and positions count from where it began."""
    starts = np.cumsum([0, *lengths])[:-1]
    first = data.draw(st.integers(0, sum(lengths) - 1))
    row_tokens = data.draw(st.integers(1, sum(lengths) - first))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    found, positions = segments(starts, first, row_tokens)
    following = owner[first + 1 : first + row_tokens]
    assert np.array_equal(found[:-1], following - following[:1] + 1)
    for document in set(following.tolist()):
        inside = positions[following == document]
        assert inside.tolist() == list(range(len(inside)))
