"""The hashes' steps are those of their references, in NumPy and compiled alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.text import batch
from millrace.data.text.hashing import FNV_OFFSET, GOLDEN, fnv, golden_power, mix
from millrace.data.text.kernels import kernel

NUMBERS = st.integers(0, 2**64 - 1)


@kernel
def compiled(value: Any, size: int) -> Any:
    return mix(value), fnv(value, 65), golden_power(size)


def splitmix(value: int) -> int:
    """SplitMix64's output function over Python's numbers."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


@settings(deadline=None)  # the first call compiles
@given(NUMBERS, st.integers(0, 40))
def test_kernels_and_numpy_give_what_unbounded_numbers_give(number: int, size: int) -> None:
    values = np.array([number], np.uint64)
    expected = (splitmix(number), (number ^ 65) * (2**40 + 0x1B3) % 2**64, pow(int(GOLDEN), size, 2**64))
    assert tuple(map(int, compiled(values[0], size))) == expected
    assert (int(mix(values)[0]), int(fnv(values, 65)[0])) == expected[:2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)],
)
def test_texts_hash_to_the_published_values_of_fnv(text: str, expected: int) -> None:
    """The test vectors of FNV-1a's authors."""
    assert batch.hashes(batch.from_texts(["xyz", text, "ü"]))[1] == expected


@settings(deadline=None)
@given(st.binary(max_size=20), NUMBERS)
def test_a_hash_goes_on_where_its_start_left_off(data: bytes, start: int) -> None:
    """A text's hash from another start is FNV-1a's step, byte by byte, from there."""
    text = batch.TextBatch(np.frombuffer(data, np.uint8), np.array([0, len(data)]))
    value = np.array([start], np.uint64)
    for byte in data:
        value = fnv(value, byte)
    assert batch.hashes(text, np.uint64(start)) == value
    assert batch.hashes(text, FNV_OFFSET) == batch.hashes(text)
