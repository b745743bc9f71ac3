"""Sorts hashes and numbers words, where indexing two million words of examples spends most of its time.

Sorting by the buckets of the first bits, which hashes fill evenly, takes a fifth of the time of a general sort.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.kernels import kernel

PART_BITS = 8  # a 256th of four million rows of 24 bytes is 370 kB

Integers = npt.NDArray[np.int64]


def sort(hashes: npt.NDArray[np.uint64]) -> Integers:
    """The stable order of hashes, as places, int64 [hashes]."""
    return np.asarray(_sort(hashes, np.uint64(64 - max(int(hashes.size).bit_length(), 1))))


def sort_rows(
    rows: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], npt.NDArray[np.int16]]:
    """Rows of a hash, a number and three small numbers, in the stable order of the hashes, as columns.

    Moving whole rows takes half the time of an order by which columns are gathered: each of those is a miss of the cache.

    Args:
        rows: uint64 [rows, 3]; the third has 16 bits for each small number, the first lowest.

    Returns:
        Hashes, uint64 [rows]; numbers, int32 [rows]; small numbers, int16 [rows, 3].
    """
    bits = max(len(rows).bit_length() - 3 - PART_BITS, 1)
    hashes, numbers, small = _sort_rows(rows, bits)
    return hashes, numbers, small


class Numbered(NamedTuple):
    """The words of examples as numbers.

    Attributes:
        hashes: Each word that there is, once, in the order of their first appearance, uint64 [kinds].
        numbers: Number of each word's kind, int64 [words].
        repeats: How often its example has had it before, int64 [words].
        examples: Number of examples that have it, int64 [kinds].
    """

    hashes: npt.NDArray[np.uint64]
    numbers: Integers
    repeats: Integers
    examples: Integers


def number(hashes: npt.NDArray[np.uint64], first_slot: Integers) -> Numbered:
    """Numbers the words of examples; ``first_slot`` is the first word of each and the end of the last."""
    return Numbered(*_number(hashes, first_slot))


@kernel
def _sort(hashes: Any, shift: Any) -> Any:
    starts = np.zeros((1 << np.int64(np.uint64(64) - shift)) + 1, np.int64)
    for at in range(hashes.size):
        starts[np.int64(hashes[at] >> shift) + 1] += 1
    for number in range(starts.size - 1):
        starts[number + 1] += starts[number]
    order = np.empty(hashes.size, np.int64)
    ascending = np.empty(hashes.size, np.uint64)
    ends = starts[:-1].copy()
    for at in range(hashes.size):
        bucket = np.int64(hashes[at] >> shift)
        ascending[ends[bucket]] = hashes[at]
        order[ends[bucket]] = at
        ends[bucket] += 1
    for number in range(starts.size - 1):
        for at in range(starts[number] + 1, starts[number + 1]):
            value, source, place = ascending[at], order[at], at
            while place > starts[number] and ascending[place - 1] > value:
                ascending[place], order[place] = ascending[place - 1], order[place - 1]
                place -= 1
            ascending[place], order[place] = value, source
    return order


@kernel
def _number(hashes: Any, first_slot: Any) -> Any:
    bits = 4
    while 1 << bits < 2 * hashes.size:
        bits += 1
    table = np.full(1 << bits, -1, np.int64)
    mask = np.uint64((1 << bits) - 1)
    kinds = np.empty(hashes.size, np.uint64)
    numbers = np.empty(hashes.size, np.int64)
    repeats = np.zeros(hashes.size, np.int64)
    examples = np.zeros(hashes.size, np.int64)
    owner = np.full(hashes.size, -1, np.int64)
    times = np.zeros(hashes.size, np.int64)
    count = 0
    for example in range(first_slot.size - 1):
        for at in range(first_slot[example], first_slot[example + 1]):
            place = hashes[at] & mask
            while table[place] >= 0 and kinds[table[place]] != hashes[at]:
                place = (place + np.uint64(1)) & mask
            if table[place] < 0:
                table[place] = count
                kinds[count] = hashes[at]
                count += 1
            kind = table[place]
            if owner[kind] != example:
                owner[kind] = example
                times[kind] = 0
                examples[kind] += 1
            numbers[at] = kind
            repeats[at] = times[kind]
            times[kind] += 1
    return kinds[:count].copy(), numbers, repeats, examples[:count].copy()


@kernel
def _sort_rows(rows: Any, bits: int) -> Any:
    """First into parts by the first bits, then each part, which fits the second cache, into buckets of some eight rows."""
    count = rows.shape[0]
    shift = np.uint64(64 - PART_BITS)
    starts = np.zeros((1 << PART_BITS) + 1, np.int64)
    for at in range(count):
        starts[np.int64(rows[at, 0] >> shift) + 1] += 1
    longest = np.int64(0)
    for part in range(starts.size - 1):
        longest = max(longest, np.int64(starts[part + 1]))
        starts[part + 1] += starts[part]
    parted = np.empty((count, 3), np.uint64)
    places = starts[:-1].copy()
    for at in range(count):
        own = np.int64(rows[at, 0] >> shift)
        for column in range(3):
            parted[places[own], column] = rows[at, column]
        places[own] += 1
    hashes = np.empty(count, np.uint64)
    numbers = np.empty(count, np.int32)
    small = np.empty((count, 3), np.int16)
    ordered = np.empty((longest, 3), np.uint64)
    ends = np.empty((1 << bits) + 1, np.int64)
    below, mask = np.uint64(64 - PART_BITS - bits), np.uint64((1 << bits) - 1)
    for part in range(starts.size - 1):
        base = starts[part]
        ends[:] = 0
        for at in range(base, starts[part + 1]):
            ends[np.int64(parted[at, 0] >> below & mask) + 1] += 1
        for bucket in range(ends.size - 1):
            ends[bucket + 1] += ends[bucket]
        for at in range(base, starts[part + 1]):
            own = np.int64(parted[at, 0] >> below & mask)
            place = ends[own]
            ends[own] += 1
            for column in range(3):
                ordered[place, column] = parted[at, column]
        start = np.int64(0)
        for bucket in range(ends.size - 1):
            end = np.int64(ends[bucket])
            for at in range(start + 1, end):
                first, second, third, place = ordered[at, 0], ordered[at, 1], ordered[at, 2], at
                while place > start and ordered[place - 1, 0] > first:
                    for column in range(3):
                        ordered[place, column] = ordered[place - 1, column]
                    place -= 1
                ordered[place, 0], ordered[place, 1], ordered[place, 2] = first, second, third
            start = end
        for at in range(starts[part + 1] - base):
            hashes[base + at] = ordered[at, 0]
            numbers[base + at] = np.int32(ordered[at, 1])
            small[base + at, 0] = np.int16(ordered[at, 2] & np.uint64(0xFFFF))
            small[base + at, 1] = np.int16(ordered[at, 2] >> np.uint64(16) & np.uint64(0xFFFF))
            small[base + at, 2] = np.int16(ordered[at, 2] >> np.uint64(32) & np.uint64(0xFFFF))
    return hashes, numbers, small
