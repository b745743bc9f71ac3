"""Similarities of sets equal those of Python's sets."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import similarity


@given(st.lists(st.sets(st.integers(0, 12)), min_size=2, max_size=6), st.randoms())
def test_jaccard_is_intersection_over_union(sets: list[set[int]], draw: random.Random) -> None:
    """Whatever the order of the values and of the pairs."""
    lists = [draw.sample(sorted(one), len(one)) for one in sets]
    values = np.array([hash_of(value) for one in lists for value in one] + [0], np.uint64)
    starts = np.cumsum([0, *map(len, lists)])[:-1]
    sizes = np.array([len(one) for one in lists])
    pairs = [(i, j) for i in range(len(sets)) for j in range(len(sets))]
    draw.shuffle(pairs)
    expected = [len(sets[i] & sets[j]) / max(len(sets[i] | sets[j]), 1) for i, j in pairs]
    assert similarity.jaccard(values, starts, sizes, np.array(pairs)).tolist() == expected


def hash_of(value: int) -> int:
    """Values whose low bits collide, as the table must bear."""
    return value * 2**40 + value % 3
