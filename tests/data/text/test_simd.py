"""Functions over many bytes give what a loop over single ones gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit
from numba.core.errors import TypingError

from millrace.data.text import simd
from millrace.data.text.hashing import FNV_OFFSET, GOLDEN

NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1])
BLOCKS = st.binary(min_size=64, max_size=80)


@njit
def _masks(data: np.ndarray, at: int) -> tuple[Any, ...]:
    return (
        simd.bytes_between(data, at, 9, 13),
        simd.bytes_between(data, at, 128, 255),
        simd.bytes_between(data, at, 0, 255),
        simd.bytes_between(data, at, 7, 7),
        simd.lowered_between(data, at, 97, 122),
    )


@njit
def _of_mask(mask: np.uint64) -> tuple[int, int, np.uint64]:
    return simd.first_bit(mask), simd.count_bits(mask), simd.settled(mask)


@njit
def _places(mask: np.uint64, out: np.ndarray, first: int, shift: int) -> None:
    simd.write_places(mask, out, first, shift)


@njit
def _branching(data: np.ndarray, is_wanted: bool) -> np.uint64:
    mask = simd.settled(simd.bytes_between(data, 0, 97, 122))
    if is_wanted:
        mask |= simd.settled(simd.bytes_between(data, 0, 48, 57))
    return mask


@njit
def _eight(data: np.ndarray, at: int) -> np.uint64:
    return simd.eight_bytes(data, at)


@njit
def _copied(target: np.ndarray, to: int, source: np.ndarray, at: int, count: int) -> None:
    simd.copy_bytes(target, to, source, at, count)


@njit
def _folded(one: np.uint64, other: np.uint64) -> np.uint64:
    return simd.folded_product(one, other)


@njit
def _hash(data: np.ndarray, start: int, length: np.uint64, raised: np.uint64) -> np.uint64:
    return simd.hash_bytes(data, start, length, raised)


def _bits(data: bytes, holds: Callable[[int], bool]) -> int:
    return sum(1 << place for place, byte in enumerate(data[:64]) if holds(byte))


@settings(deadline=None)  # the first call compiles
@given(BLOCKS)
def test_a_mask_has_a_bit_for_each_byte_that_lies_between(data: bytes) -> None:
    at = len(data) - 64
    found = _masks(np.frombuffer(data, np.uint8), at)
    block = data[at:]
    assert [int(mask) for mask in found] == [
        _bits(block, lambda byte: 9 <= byte <= 13),
        _bits(block, lambda byte: byte >= 128),
        2**64 - 1,
        _bits(block, lambda byte: byte == 7),
        _bits(block, lambda byte: 97 <= byte | 32 <= 122),
    ]


@settings(deadline=None)
@given(BLOCKS, st.booleans())
def test_masks_can_be_joined_behind_a_branch(data: bytes, is_wanted: bool) -> None:
    expected = _bits(data, lambda byte: 97 <= byte <= 122 or (is_wanted and 48 <= byte <= 57))
    assert int(_branching(np.frombuffer(data, np.uint8), is_wanted)) == expected


@settings(deadline=None)
@given(NUMBERS)
def test_bits_are_found_and_counted(mask: int) -> None:
    first = (mask & -mask).bit_length() - 1 if mask else 64
    assert _of_mask(np.uint64(mask)) == (first, mask.bit_count(), mask)


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_a_folded_product_has_both_halves(one: int, other: int) -> None:
    product = one * other
    assert int(_folded(np.uint64(one), np.uint64(other))) == (product ^ product >> 64) % 2**64


@settings(deadline=None)
@given(st.binary(min_size=8, max_size=20))
def test_eight_bytes_are_read_from_any_place(data: bytes) -> None:
    for at in range(len(data) - 7):
        assert int(_eight(np.frombuffer(data, np.uint8), at)) == int.from_bytes(data[at : at + 8], "little")


@settings(deadline=None)
@given(st.binary(max_size=50), st.sampled_from([0, 0x2020202020202020]), st.integers(0, 3))
def test_bytes_hash_as_the_folded_products_of_sixteen(data: bytes, raised: int, start: int) -> None:
    """Whatever is around them; the bits that are raised are raised in the bytes alone."""
    value = 0
    for at in range(0, max(len(data), 1), 16):
        low, high = (
            int.from_bytes(bytes(byte | raised & 0xFF for byte in data[at + i : at + i + 8]), "little")
            for i in (0, 8)
        )
        product = (value ^ low ^ int(FNV_OFFSET)) * (high ^ len(data) * int(GOLDEN) % 2**64)
        value = (product ^ product >> 64) % 2**64
    around = np.frombuffer(b"abc"[:start] + data + b"z" * 16, np.uint8)
    assert int(_hash(around, start, np.uint64(len(data)), np.uint64(raised))) == value


def test_an_array_with_gaps_or_of_other_numbers_is_refused() -> None:
    for data in (np.zeros(32, np.uint8)[::2], np.zeros(16, np.int32)):
        with pytest.raises(TypingError, match="expected a contiguous array of uint8"):
            _eight(data, 0)


@settings(deadline=None)
@given(st.data(), st.binary(max_size=300))
def test_a_copy_is_that_of_a_slice(draw: st.DataObject, data: bytes) -> None:
    """Of any length, none too, from and to any place, and nothing beside it changes."""
    source = np.frombuffer(data, np.uint8)
    at = draw.draw(st.integers(0, len(data)))
    count = draw.draw(st.integers(0, len(data) - at))
    to = draw.draw(st.integers(0, 9))
    target = np.full(to + count + 3, 7, np.uint8)
    expected = target.copy()
    expected[to : to + count] = source[at : at + count]
    _copied(target, to, source, at, count)
    np.testing.assert_array_equal(target, expected)


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 9), st.integers(-3, 1000))
@example(2**64 - 1, 0, 0)
@example(2**16 - 1, 3, 64)
def test_places_are_those_of_the_set_bits(mask: int, first: int, shift: int) -> None:
    """In order, from the given index on; whatever stands before it stays."""
    out = np.full(first + 64 + 16, -7, np.int32)
    _places(np.uint64(mask), out, first, shift)
    expected = [shift + place for place in range(64) if mask >> place & 1]
    assert out[first : first + len(expected)].tolist() == expected
    assert (out[:first] == -7).all()
