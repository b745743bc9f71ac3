"""MinHash signatures of texts: band keys that make similar texts meet, and a sketch that estimates their similarity.

A text is the set of its word 5-grams (shingles). Each of ``bands * rows`` hash functions keeps its least value over the
set; two texts agree on one with probability equal to the Jaccard similarity s of their sets. Texts meet when all
``rows`` values of some band agree, with probability 1 - (1 - s**rows)**bands: with 14 x 8 that is 0.92 at s = 0.8, 0.36
at 0.65 and 0.05 at 0.5.

Of the least values themselves only a byte each is kept, the sketch: two texts that differ agree on a byte by chance
once in 256, which the estimate takes out again. With the band keys that is 224 bytes a text for 14 x 8.

One pass over the bytes of a text does it all, in arrays that stay in the first cache: words are hashed, shingles rolled
from the words' hashes, and the functions, which are 32-bit multiply-adds of the shingle's hash, run sixteen at a time
with four shingles in registers: 112 functions cost 0.7 ms per MB of text, the words 2 and the shingles 1.

References:
    Broder 1997, "On the resemblance and containment of documents": shingles, MinHash; Leskovec, Rajaraman & Ullman,
    "Mining of massive datasets", 3.4: bands; Li & Koenig 2010, "b-bit minwise hashing": the sketch; Penedo et al. 2024,
    "FineWeb" (arXiv 2406.17557): 14 bands of 8 rows, 5-grams; Karp & Rabin 1987: rolling hashes; Steele et al. 2014:
    the mixing constants (SplitMix64).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.exchange import Beyond
from millrace.data.text.folding import FOLD_TABLE, fold_batch
from millrace.data.text.hashing import GOLDEN, MIX_FIRST, golden_power, mix
from millrace.data.text.kernels import kernel
from millrace.data.text.simd import copy_bytes


class Signed(NamedTuple):
    """Signatures of a batch.

    Attributes:
        keys: Texts that share a key agree on all rows of that band; keys of different bands differ. uint64
            [documents, bands].
        sketches: uint8 [documents, bands * rows].
        shingles: Shingles of each text, repeated ones counted again, int64 [documents]. A text without words has none;
            it must not be banded, because it would meet all others like it.
    """

    keys: npt.NDArray[np.uint64]
    sketches: npt.NDArray[np.uint8]
    shingles: npt.NDArray[np.int64]


class ShingleSets(NamedTuple):
    """Sets of shingles of some texts.

    Attributes:
        shingles: Distinct hashes, in the order of the text; those of the i-th text start at ``starts[i]``. uint64.
        starts: int64 [documents + 1]; between a set's end and the next one's start the values mean nothing.
        sizes: Distinct shingles, int64 [documents].
    """

    shingles: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def sign(batch: TextBatch, shingle_words: int, bands: int, rows: int, seen: Beyond | None = None) -> Signed:
    """Signs the texts of a batch; see ``folding.fold`` for the definition of a word.

    Args:
        batch: The texts.
        shingle_words: Words per shingle; a shorter text is one shingle of all its words.
        bands: Bands of the signature.
        rows: Hash functions per band.
        seen: Result of ``exchange.beyond_ascii`` for the texts, if already known.
    """
    folded = fold_batch(batch, seen)
    functions = bands * rows
    stream = (mix(np.arange(1, 2 * functions + 1, dtype=np.uint64) * GOLDEN) >> np.uint64(32)).astype(
        np.uint32
    )
    addends, multipliers = stream.reshape(2, functions)
    return Signed(
        *_sign(
            folded.data,
            folded.offsets,
            FOLD_TABLE,
            shingle_words,
            bands,
            addends,
            multipliers | np.uint32(1),
        )
    )


def shingle_sets(batch: TextBatch, rows: npt.NDArray[np.int64], shingle_words: int) -> ShingleSets:
    """The sets of shingles of some texts of a batch.

    Args:
        batch: The texts.
        rows: Rows of the texts, int64.
        shingle_words: As for ``sign``.
    """
    part = TextBatch(*_rows(batch.data, batch.offsets, rows))
    folded = fold_batch(part)
    return ShingleSets(*_shingle_sets(folded.data, folded.offsets, FOLD_TABLE, shingle_words))


def meeting_probability(similarity: float, bands: int, rows: int) -> float:
    """How likely two texts of this Jaccard similarity share a band key."""
    return float(1.0 - (1.0 - similarity**rows) ** bands)


@kernel
def _longest(offsets: Any) -> Any:
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest


@kernel
def _shingles(data: Any, start: Any, end: Any, table: Any, size: int, leaving: Any, hashes: Any) -> Any:
    """Replaces ``hashes`` by those of one text's shingles and returns how many there are."""
    count = np.uint64(0)
    value, was_word = np.uint64(0), np.uint64(0)
    for at in range(np.uint64(start), np.uint64(end)):
        byte = np.uint64(table[data[at]])
        is_word = np.uint64(byte != 0)
        # Without a branch, which would be mispredicted at every word's end: the place is written until it is right.
        hashes[count] = value
        count += was_word & ~is_word
        value = value * np.uint64(0xD1342543DE82EF95) + byte if is_word else np.uint64(0)
        was_word = is_word
    hashes[count] = value
    words = np.int64(count + was_word)
    for word in range(words):
        mixed = hashes[word]
        hashes[word] = (mixed ^ (mixed >> np.uint64(32))) * MIX_FIRST
    value = np.uint64(0)
    first: Any = min(size, words)
    for word in range(first):
        value = value * GOLDEN + hashes[word]
    # A shingle takes the place of its first word, which leaves with it.
    for word in range(first, words):
        gone = hashes[word - first]
        hashes[word - first] = mix(value)
        value = value * GOLDEN + hashes[word] - leaving * gone
    if words > 0:
        hashes[words - first] = mix(value)
        return words - first + 1
    return 0


@kernel
def _sign(data: Any, offsets: Any, table: Any, size: int, bands: int, addends: Any, multipliers: Any) -> Any:
    documents, functions = offsets.size - 1, addends.size
    keys = np.zeros((documents, bands), np.uint64)
    sketches = np.zeros((documents, functions), np.uint8)
    counts = np.zeros(documents, np.int64)
    hashes = np.empty(_longest(offsets) // 2 + 2, np.uint64)
    leaving = golden_power(size)
    least = np.empty(functions, np.uint32)
    rows = functions // bands
    for row in range(documents):
        count = _shingles(data, offsets[row], offsets[row + 1], table, size, leaving, hashes)
        counts[row] = count
        least[:] = np.uint32(0xFFFFFFFF)
        at = 0
        while at + 4 <= count:
            one, two = np.uint32(hashes[at] >> np.uint64(32)), np.uint32(hashes[at + 1] >> np.uint64(32))
            three, four = (
                np.uint32(hashes[at + 2] >> np.uint64(32)),
                np.uint32(hashes[at + 3] >> np.uint64(32)),
            )
            for function in range(functions):
                by, plus = multipliers[function], addends[function]
                left = min(np.uint32(one * by + plus), np.uint32(two * by + plus))
                right = min(np.uint32(three * by + plus), np.uint32(four * by + plus))
                least[function] = min(least[function], min(left, right))
            at += 4
        while at < count:
            one = np.uint32(hashes[at] >> np.uint64(32))
            for function in range(functions):
                least[function] = min(
                    least[function], np.uint32(one * multipliers[function] + addends[function])
                )
            at += 1
        for band in range(bands):
            key = np.uint64(band + 1) * GOLDEN
            for function in range(band * rows, (band + 1) * rows):
                key = mix(key + np.uint64(least[function]))
            keys[row, band] = key
        for function in range(functions):
            sketches[row, function] = np.uint8((least[function] * np.uint32(0x9E3779B1)) >> np.uint32(24))
    return keys, sketches, counts


@kernel
def _rows(data: Any, offsets: Any, rows: Any) -> Any:
    ends = np.zeros(rows.size + 1, np.int64)
    for index in range(rows.size):
        ends[index + 1] = ends[index] + offsets[rows[index] + 1] - offsets[rows[index]]
    out = np.empty(ends[-1], np.uint8)
    for index in range(rows.size):
        copy_bytes(out, ends[index], data, offsets[rows[index]], ends[index + 1] - ends[index])
    return out, ends


@kernel
def _shingle_sets(data: Any, offsets: Any, table: Any, size: int) -> Any:
    documents, longest = offsets.size - 1, _longest(offsets)
    hashes = np.empty(longest // 2 + 2, np.uint64)
    leaving = golden_power(size)
    starts = np.zeros(documents + 1, np.int64)
    sizes = np.zeros(documents, np.int64)
    out = np.empty((offsets[-1] - offsets[0] + documents) // 2 + 1, np.uint64)
    places = 2
    while places < longest + 4:  # twice the most shingles that a text can have, a power of two
        places *= 2
    owners = np.zeros(places, np.int64)
    values = np.empty(places, np.uint64)
    for row in range(documents):
        count = _shingles(data, offsets[row], offsets[row + 1], table, size, leaving, hashes)
        places = 2
        while places < 2 * count:
            places *= 2
        written = starts[row]
        for at in range(count):
            place = hashes[at] & np.uint64(places - 1)
            while owners[place] == row + 1 and values[place] != hashes[at]:
                place = (place + np.uint64(1)) & np.uint64(places - 1)
            if owners[place] != row + 1:
                owners[place] = row + 1
                values[place] = hashes[at]
                out[written] = hashes[at]
                written += 1
        sizes[row] = written - starts[row]
        starts[row + 1] = written
    return out[: starts[-1]], starts, sizes
