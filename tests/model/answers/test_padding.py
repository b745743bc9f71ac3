"""Buckets hold every row, waste little, and make few shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.model.answers.padding import batches_by_length, pad_rows, padded_length


@given(st.integers(1, 10_000))
def test_a_bucket_holds_its_length_and_wastes_at_most_half(length: int) -> None:
    """It is the smallest of 32, 48, 64, 96 ... that is not smaller than the length."""
    sizes = sorted(base << power for base in (32, 48) for power in range(12))
    assert padded_length(length) == next(size for size in sizes if size >= length)


@given(lengths=st.lists(st.integers(1, 100), max_size=60), batch_tokens=st.integers(1, 500))
def test_every_row_is_in_one_batch_that_fits(lengths: list[int], batch_tokens: int) -> None:
    """Batches hold each row once, no row is wider than its batch, and a width has one shape."""
    batches = batches_by_length(lengths, 100, batch_tokens)
    assert sorted(index for _, _, members in batches for index in members) == list(range(len(lengths)))
    for rows, width, members in batches:
        assert len(members) <= rows
        assert max(lengths[index] for index in members) <= width <= 100
        assert rows == 1 or rows * width <= batch_tokens
    assert len({(rows, width) for rows, width, _ in batches}) == len({width for _, width, _ in batches})


def test_padding_is_on_the_right() -> None:
    """Rows keep their beginning; missing rows are padding."""
    assert np.array_equal(pad_rows([[1, 2], [3]], 3, 3, fill=9), [[1, 2, 9], [3, 9, 9], [9, 9, 9]])
