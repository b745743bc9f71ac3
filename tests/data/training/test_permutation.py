"""Keyed permutations are permutations, have exact inverses and look uniform."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.training import permutation

KEYS = st.integers(0, 2**64 - 1)


@settings(deadline=None)
@given(size=st.integers(1, 3_000), key=KEYS)
def test_every_size_is_permuted_and_inverted(size: int, key: int) -> None:
    """All of [0, size) is hit once, and the inverse goes back."""
    index = np.arange(size)
    image = permutation.permute(index, size, key)
    assert np.array_equal(np.sort(image), index)
    assert np.array_equal(permutation.invert(image, size, key), index)


@settings(deadline=None)
@given(st.integers(1, 2**52), KEYS, st.integers(0, 2**52))
def test_large_domains_need_no_table(size: int, key: int, index: int) -> None:
    """A domain of any size is permuted position by position."""
    image = permutation.permute(index % size, size, key)
    assert 0 <= image < size
    assert permutation.invert(image, size, key) == index % size


def test_sizes_and_keys_may_differ_per_index() -> None:
    """A batch over several domains gives what each gives alone."""
    sizes, keys = np.array([5, 77, 1, 9_999]), np.array([1, 2, 3, 2**63], np.uint64)
    together = permutation.permute([4, 70, 0, 1_234], sizes, keys)
    alone = [
        int(permutation.permute(i, s, k)) for i, s, k in zip([4, 70, 0, 1_234], sizes, keys, strict=True)
    ]
    assert together.tolist() == alone


def test_orders_of_four_are_about_equally_likely() -> None:
    """Over many keys each of the 24 orders comes up about as often (six standard deviations)."""
    for permuted in (
        Counter(
            tuple(permutation.permute(np.arange(4), 4, permutation.key_of(key)).tolist())
            for key in range(4_800)
        ),
        Counter(tuple(permutation.order(4, permutation.key_of(key)).tolist()) for key in range(4_800)),
    ):
        assert len(permuted) == 24
        assert all(abs(count - 200) < 6 * 14 for count in permuted.values())


def test_keys_tell_their_parts_apart() -> None:
    """Names and numbers that print alike give different keys, and a key never changes."""
    assert len({permutation.key_of(1, "2"), permutation.key_of("1", 2), permutation.key_of("12")}) == 3
    assert permutation.key_of(0, "windows", "code", 256) == permutation.key_of(0, "windows", "code", 256)
