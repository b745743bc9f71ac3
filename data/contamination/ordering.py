"""Hashes in order, and words as numbers: what indexing two million words of examples spends its time on.

Sorting by the buckets of the first bits, which hashes fill evenly, takes a fifth of the time of a general sort.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..kernels import kernel

Integers = npt.NDArray[np.int64]


def sort(hashes: npt.NDArray[np.uint64]) -> Integers:
    """The stable order of hashes, as places, int64 [hashes]."""
    return np.asarray(_sort(hashes, np.uint64(64 - max(int(hashes.size).bit_length(), 1))))


class Numbered(NamedTuple):
    """The words of examples as numbers.

    Attributes:
        hashes: Each word that there is, once, in the order of their first appearance, uint64 [kinds].
        numbers: Which of them each word is, int64 [words].
        repeats: How often its example has had it before, int64 [words].
        examples: How many examples have it, int64 [kinds].
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
