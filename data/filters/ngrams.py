"""Words and word n-grams of a batch of texts as 64-bit hashes, computed over bytes.

A word's hash is FNV-1a over its folded bytes, mixed; an n-gram's is a polynomial of its words' hashes modulo 2**64,
mixed, which rolls along a text at one multiplication a word whatever n is. No string is made. Two different n-grams
share a hash with probability 2**-64: looking ten billion n-grams up among a million expects 0.0005 false hits.

References:
    Fowler, Noll & Vo, FNV-1a (constants for 64 bits); Karp & Rabin 1987, "Efficient randomized pattern-matching
    algorithms": rolling polynomial hashes; Steele et al. 2014: the mixing constants (SplitMix64).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.folding import FOLD_TABLE, fold_batch
from millrace.data.text.hashing import FNV_OFFSET, GOLDEN, fnv, golden_power, mix
from millrace.data.text.kernels import kernel


class WordBatch(NamedTuple):
    """The words of the texts of a batch, one text after the other.

    Attributes:
        hashes: uint64 [words].
        starts: Where a word starts, int64 [words], a byte within its text in the folded batch.
        ends: Where it ends, exclusive.
        offsets: First word of each text and the end of the last, int64 [documents + 1].
    """

    hashes: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


class GramBatch(NamedTuple):
    """The n-grams of the texts of a batch, one text after the other.

    Attributes:
        hashes: uint64 [n-grams].
        offsets: First n-gram of each text and the end of the last, int64 [documents + 1].
    """

    hashes: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]


def words(batch: TextBatch) -> WordBatch:
    """All words of a batch; see ``folding.fold`` for the definition of a word."""
    folded = fold_batch(batch)
    return WordBatch(*_words(folded.data, folded.offsets, FOLD_TABLE))


def grams(found: WordBatch, size: int, min_words: int) -> GramBatch:
    """All n-grams of each text of a batch, in order.

    Args:
        found: The texts' words.
        size: Words per n-gram, n.
        min_words: A text with fewer than n words but at least this many counts as one n-gram of all its words.

    Returns:
        Max(words - n + 1, 0) n-grams per text, or the one; the i-th starts at the text's i-th word.
    """
    return GramBatch(*_grams(found.hashes, found.offsets, size, max(min_words, 1)))


@kernel
def _words(data: Any, offsets: Any, table: Any) -> Any:
    total, inside = 0, False
    for row in range(offsets.size - 1):
        inside = False
        for at in range(offsets[row], offsets[row + 1]):
            is_word = table[data[at]] != 0
            if is_word and not inside:
                total += 1
            inside = is_word
    hashes = np.empty(total, np.uint64)
    starts = np.empty(total, np.int64)
    ends = np.empty(total, np.int64)
    first_words = np.zeros(offsets.size, np.int64)
    count = 0
    for row in range(offsets.size - 1):
        base = offsets[row]
        at = base
        end = offsets[row + 1]
        while at < end:
            byte = table[data[at]]
            if byte == 0:
                at += 1
                continue
            starts[count] = at - base
            value = FNV_OFFSET
            while byte != 0:
                value = fnv(value, byte)
                at += 1
                byte = table[data[at]] if at < end else np.uint8(0)
            hashes[count] = mix(value)
            ends[count] = at - base
            count += 1
        first_words[row + 1] = count
    return hashes, starts, ends, first_words


@kernel
def _grams(hashes: Any, offsets: Any, size: int, min_words: int) -> Any:
    ends = np.zeros(offsets.size, np.int64)
    for row in range(offsets.size - 1):
        count = offsets[row + 1] - offsets[row]
        if count >= size:
            ends[row + 1] = ends[row] + count - size + 1
        else:
            ends[row + 1] = ends[row] + (1 if count >= min_words else 0)
    out = np.empty(ends[-1], np.uint64)
    for row in range(offsets.size - 1):
        if ends[row] == ends[row + 1]:
            continue
        first = offsets[row]
        taken = min(size, offsets[row + 1] - first)
        leaving = golden_power(taken)
        value = np.uint64(0)
        at = ends[row]
        for word in range(first, offsets[row + 1]):
            value = value * GOLDEN + hashes[word]
            if word - first >= taken:
                value -= leaving * hashes[word - taken]
            if word - first >= taken - 1:
                out[at] = mix(value)
                at += 1
    return out, ends
