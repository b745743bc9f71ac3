"""Hashes three words in a row to 64 bits, to find text that documents and benchmark examples share.

Three words are few enough to survive when words are dropped or a layout changes, and enough to be rare: of all three
in a row of 197 MB of natural text, one in ten is also in one of 27,000 examples (2.3 million different ones). Examples
of up to ``DENSE_WORDS`` words also give the triples that leave one word out between two (``a b d``, ``a c d``,
``a c e``), so that a copy with words missing still shares triples; a document gives only its consecutive triples, one
look-up a word.

The look-up avoids cache misses: a bitmap of 2 MB rejects most words, then 32 bits of the hash and its entry lie side by
side, in buckets of about three by the first bits. Each step prefetches some hundred look-ups ahead; this cut 6.0 ms a
MB to 3.5 on a machine with contended memory.

References:
    Steele et al. 2014 (SplitMix64): the constants of the hashes. Guthrie et al. 2006, "A closer look at skip-gram
    modelling" (LREC), section 2: skip-grams.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.atomics import fetch
from millrace.data.text.batch import TextBatch
from millrace.data.text.hashing import GOLDEN, MIX_FIRST
from millrace.data.text.kernels import kernel

from . import ordering
from .words import Hashed, Integers, Words, words

DENSE_WORDS = 48
MAX_WORDS = 32_000  # of an example; slots are int16
BITMAP_BITS = (
    4  # per hash, at least: one in eleven other triples passes; a larger bitmap costs more than those
)
LETTERS = 26
AHEAD = 512  # look-ups that are on their way together


class Postings(NamedTuple):
    """The triples of every example, sorted by hash, then by example and slots.

    Attributes:
        hashes: uint64 [postings].
        examples: int32 [postings].
        slots: The words of the example that form the triple, -1 for a letter that only a layout puts there;
            int16 [postings, 3].
    """

    hashes: npt.NDArray[np.uint64]
    examples: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int16]


class Lookup(NamedTuple):
    """Tables that find a hash in an ascending array.

    Attributes:
        bitmap: Two bits for every hash, in the same word, by its last bits; uint64 [a power of two].
        buckets: Where the hashes with the same first bits start, int32 [a power of two + 1].
        entries: The 32 bits of every hash behind those of its bucket, and a number that it stands for,
            uint32 [hashes, 2].
    """

    bitmap: npt.NDArray[np.uint64]
    buckets: npt.NDArray[np.int32]
    entries: npt.NDArray[np.uint32]


class Hits(NamedTuple):
    """Where texts have triples that are looked for, in the order of the texts.

    Attributes:
        rows: Text, int32 [hits].
        places: Number of the first word in its text, int32 [hits].
        found: The number that the triple stands for, int32 [hits].
    """

    rows: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]
    found: npt.NDArray[np.int32]


def postings(found: Words, first_field: Integers, answers: Integers) -> Postings:
    """The triples of examples.

    An example's words are numbered through its fields: its slots. Triples run on from field to field, as where an
    example is printed whole; where choices follow, also from the question to the right answer, and with the letters
    A, B, C before the choices.

    Args:
        found: The words of all fields of all examples.
        first_field: First field of each example and the end of the last, int64 [examples + 1]. The first field of an
            example is its question.
        answers: The field of each example that is the right answer, -1 where there is none, int64 [examples].
    """
    letters = words(TextBatch(np.arange(97, 97 + LETTERS, dtype=np.uint8), np.arange(LETTERS + 1))).hashes
    rows = _postings(found.hashes, found.offsets, first_field, answers, letters, DENSE_WORDS, MAX_WORDS)
    return Postings(*ordering.sort_rows(rows))


def lookup(hashes: npt.NDArray[np.uint64]) -> Lookup:
    """Makes ascending hashes, each once, ready to be looked up; they stand for their places."""
    bits = max(int(hashes.size).bit_length() - 2, 1)
    bitmap = np.zeros(1 << max(int(hashes.size * BITMAP_BITS).bit_length() - 6, 0), np.uint64)
    starts = np.zeros((1 << bits) + 1, np.int32)
    entries = np.empty((hashes.size, 2), np.uint32)
    _enter(hashes, bitmap, starts, entries)
    return Lookup(bitmap, starts, entries)


def find(found: Hashed | Words, sought: Lookup) -> Hits:
    """Looks all triples of some texts up."""
    return Hits(*_find(found.hashes, found.offsets, 3, *sought))


def document_frequency(found: Hashed, single: Lookup, triple: Lookup) -> tuple[Integers, Integers]:
    """In how many texts words and triples are.

    Args:
        found: The words of the texts.
        single: Words, each once.
        triple: Triples, each once.

    Returns:
        Texts with each word, int64 [words], and with each triple, int64 [triples].
    """
    words_found = _find(found.hashes, found.offsets, 1, *single)
    triples_found = _find(found.hashes, found.offsets, 3, *triple)
    return (
        _document_frequency(words_found[0], words_found[2], len(single.entries)),
        _document_frequency(triples_found[0], triples_found[2], len(triple.entries)),
    )


@kernel
def _triple(first: Any, second: Any, third: Any) -> Any:
    value = (first * GOLDEN + second) * GOLDEN + third
    value = (value ^ (value >> np.uint64(31))) * MIX_FIRST
    return value ^ (value >> np.uint64(29))


@kernel
def _put(rows: Any, at: int, value: Any, example: int, a: int, b: int, c: int) -> int:
    rows[at, 0] = value
    rows[at, 1] = np.uint64(example)
    rows[at, 2] = np.uint64(a & 0xFFFF | (b & 0xFFFF) << 16 | (c & 0xFFFF) << 32)
    return at + 1


@kernel
def _postings(
    hashes: Any, fields: Any, first_field: Any, answers: Any, letters: Any, dense_words: int, max_words: int
) -> Any:
    most = 4 * hashes.size + 5 * fields.size
    rows = np.empty((most, 3), np.uint64)
    n = 0
    for example in range(first_field.size - 1):
        first, last = first_field[example], first_field[example + 1]
        base = fields[first]
        count = min(fields[last] - base, max_words)
        own = hashes[base : base + count]
        reach = 2 if count <= dense_words else 1
        for i in range(count):
            for a in range(i + 1, i + 1 + reach):
                for b in range(a + 1, a + 1 + reach):
                    if b < count:
                        value = _triple(own[i], own[a], own[b])
                        n = _put(rows, n, value, example, i, a, b)
        if fields[last] - base > max_words:
            continue
        answer, question = answers[example], fields[first + 1] - base
        if answer > first + 1:  # from the question to the right answer
            a, end = fields[answer] - base, fields[answer + 1] - base
            if question >= 2 and end > a:
                value = _triple(own[question - 2], own[question - 1], own[a])
                n = _put(rows, n, value, example, question - 2, question - 1, a)
            if question >= 1 and end > a + 1:
                value = _triple(own[question - 1], own[a], own[a + 1])
                n = _put(rows, n, value, example, question - 1, a, a + 1)
        if last - first < 3 or last - first - 1 > letters.size:
            continue
        for field in range(first + 1, last):  # choices with letters
            a, end = fields[field] - base, fields[field + 1] - base
            if end == a:
                continue
            letter = letters[field - first - 1]
            if a >= 2:
                value = _triple(own[a - 2], own[a - 1], letter)
                n = _put(rows, n, value, example, a - 2, a - 1, -1)
            if a >= 1:
                value = _triple(own[a - 1], letter, own[a])
                n = _put(rows, n, value, example, a - 1, -1, a)
            if end - a > 1:
                value = _triple(letter, own[a], own[a + 1])
                n = _put(rows, n, value, example, -1, a, a + 1)
            elif field + 1 < last:
                value = _triple(letter, own[a], letters[field - first])
                n = _put(rows, n, value, example, -1, a, -1)
    return rows[:n]


@kernel
def _enter(hashes: Any, bitmap: Any, buckets: Any, entries: Any) -> None:
    mask, shift = np.uint64(bitmap.size - 1), _shift(buckets)
    for at in range(hashes.size):
        bitmap[hashes[at] >> np.uint64(12) & mask] |= np.uint64(1) << (
            hashes[at] & np.uint64(63)
        ) | np.uint64(1) << (hashes[at] >> np.uint64(6) & np.uint64(63))
        buckets[np.int64(hashes[at] >> shift) + 1] += 1
        entries[at, 0] = hashes[at] >> (shift - np.uint64(32)) & np.uint64(0xFFFFFFFF)
        entries[at, 1] = at
    for bucket in range(buckets.size - 1):
        buckets[bucket + 1] += buckets[bucket]


@kernel
def _shift(buckets: Any) -> Any:
    bits = 0
    while 1 << bits < buckets.size - 1:
        bits += 1
    return np.uint64(64 - bits)


@kernel
def _find(hashes: Any, offsets: Any, size: int, bitmap: Any, buckets: Any, entries: Any) -> Any:
    """Row, first word in its text and number of everything that is looked for.

    Each step is a loop over some hundred look-ups, which asks for what the next step reads: a processor that reads ahead
    by itself has some twenty instructions a look-up to get through, and is stopped by every branch on what has not come.
    """
    end = hashes.size - size + 1
    rows = np.empty(max(end, 0), np.int32)
    places = np.empty(max(end, 0), np.int32)
    numbers = np.empty(max(end, 0), np.int32)
    values = np.empty(AHEAD, np.uint64)
    passed = np.empty(AHEAD, np.int32)  # words that pass the bitmap, counted from the first of all these
    starts = np.empty(AHEAD, np.int32)
    ends = np.empty(AHEAD, np.int32)
    mask, shift = np.uint64(bitmap.size - 1), _shift(buckets)
    count = row = 0
    for begin in range(0, end, AHEAD):
        here = min(AHEAD, end - begin)
        for at in range(np.uint64(here)):
            word = np.uint64(begin) + at
            value = hashes[word]
            if size == 3:
                value = _triple(value, hashes[word + np.uint64(1)], hashes[word + np.uint64(2)])
            values[at] = value
        for at in range(here):
            fetch(bitmap, np.int64(values[at] >> np.uint64(12) & mask))
        passing = 0
        for at in range(here):  # without a branch on what passes
            value = values[at]
            known = bitmap[value >> np.uint64(12) & mask]
            values[passing] = value
            passed[passing] = at
            known = known >> (value & np.uint64(63)) & known >> (value >> np.uint64(6) & np.uint64(63))
            passing += int(known & np.uint64(1))
        for at in range(passing):
            fetch(buckets, np.int64(values[at] >> shift))
        for at in range(passing):
            bucket = values[at] >> shift
            starts[at] = buckets[bucket]
            ends[at] = buckets[bucket + np.uint64(1)]
            fetch(entries, np.int64(starts[at]) * 2)
        for at in range(passing):
            tag = np.uint32(values[at] >> (shift - np.uint64(32)))
            place, last = starts[at], ends[at]
            while place < last and entries[place, 0] < tag:
                place += 1
            if place < last and entries[place, 0] == tag:
                first = begin + passed[at]
                while offsets[row + 1] <= first:
                    row += 1
                if first + size <= offsets[row + 1]:  # within one text
                    rows[count] = row
                    places[count] = first - offsets[row]
                    numbers[count] = entries[place, 1]
                    count += 1
    return rows[:count].copy(), places[:count].copy(), numbers[:count].copy()


@kernel
def _document_frequency(rows: Any, places: Any, size: int) -> Any:
    counts = np.zeros(size, np.int64)
    seen = np.full(size, -1, np.int32)
    for at in range(rows.size):
        if seen[places[at]] != rows[at]:
            seen[places[at]] = rows[at]
            counts[places[at]] += 1
    return counts
