"""Word lists: how many words and phrases of a list a text has.

Words are runs of letters with their marks, digits and underscores, compared without case, accents and compatibility
forms, so that ``Naïve`` finds ``naive``; characters of scripts that put no spaces between words are words of their own. Phrases match
whatever punctuation and white space stands between their words. Folding is one look-up per character, so that texts
with letters beyond ASCII take the same path as others (``folding.fold``, which also takes ligatures and ``ß`` apart,
makes a string of each such text and halves the speed).

References:
    Raffel et al. 2020, "Exploring the Limits of Transfer Learning" (T5), arXiv 1910.10683, section 2.2: C4 drops pages
    with any word of a list of bad words. Dodge et al. 2021, "Documenting Large Webtext Corpora", arXiv 2104.08758,
    section 5: so go texts by and about minorities; a bound on the fraction is gentler than one on occurrence.
    Fowler, Noll & Vo, FNV-1a; Steele et al. 2014 (SplitMix64): the constants of the hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.folding import fold_tables
from millrace.data.text.hashing import FNV_OFFSET, GOLDEN, MIX_FIRST, fnv
from millrace.data.text.kernels import kernel

from .lists import hash_table

VALUES = ("listed_count", "listed_fraction")
LONGEST_PHRASE_WORDS = 60


class WordList(NamedTuple):
    """A list ready to be looked up.

    Attributes:
        table: Hashes of its words and phrases (``lists.hash_table``).
        starts: Whether an entry's first word has a hash with these last 16 bits, bool [2**16]: most words end there.
        has_length: Whether any entry has this many words, bool [longest entry + 1].
    """

    table: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.bool_]
    has_length: npt.NDArray[np.bool_]


def compile_list(entries: Sequence[str]) -> WordList:
    """Makes a list ready.

    Args:
        entries: Words and phrases.

    Raises:
        ValueError: An entry has no word, or more than ``LONGEST_PHRASE_WORDS``.
    """
    batch = from_texts(list(entries))
    hashes, firsts, lengths = _entry_hashes(batch.data, batch.offsets, fold_tables())
    for entry, length in zip(entries, lengths.tolist(), strict=True):
        if not 0 < length <= LONGEST_PHRASE_WORDS:
            raise ValueError(
                f"got the list entry {entry!r} of {length} words, expected 1 to {LONGEST_PHRASE_WORDS} words"
            )
    has_length = np.zeros(int(lengths.max(initial=0)) + 1, np.bool_)
    has_length[lengths] = True
    starts = np.zeros(1 << 16, np.bool_)
    starts[firsts & np.uint64(0xFFFF)] = True
    return WordList(hash_table(hashes), starts, has_length)


def measure(batch: TextBatch, words: WordList) -> dict[str, np.ndarray]:
    """The entries of a list found in each text.

    Args:
        batch: The texts.
        words: The list.

    Returns:
        ``listed_count``: occurrences of entries; ``listed_fraction``: words of the text that belong to one, of all its
        words; float64 [documents] each.
    """
    counts, fractions = _measure(batch.data, batch.offsets, fold_tables(), *words)
    return {"listed_count": counts, "listed_fraction": fractions}


@kernel
def _words(data: Any, start: int, end: int, folds: Any, out: Any) -> int:
    """Writes the hashes of a text's words and returns how many they are."""
    table, sequences = folds
    count = 0
    value = FNV_OFFSET
    is_alone: Any = False  # whether a character that is a word of its own may go on
    at = start
    while at < end:
        point = np.int64(data[at])
        at += 1
        if point >= 0x80:
            if at + (1 if point < 0xE0 else 2 if point < 0xF0 else 3) > end:
                break  # cut within a character, which is no UTF-8
            if point < 0xE0:
                point = (point & 0x1F) << 6 | (data[at] & 0x3F)
                at += 1
            elif point < 0xF0:
                point = (point & 0x0F) << 12 | (np.int64(data[at]) & 0x3F) << 6 | (data[at + 1] & 0x3F)
                at += 2
            else:
                point = (
                    (point & 0x07) << 18
                    | (np.int64(data[at]) & 0x3F) << 12
                    | (np.int64(data[at + 1]) & 0x3F) << 6
                    | (data[at + 2] & 0x3F)
                )
                at += 3
        folded = table[point] if point < table.size else np.int32(0)
        if 0 < folded < 0x1000000:
            value = fnv(value, folded)
            is_alone = False
            continue
        if folded == -1:
            continue
        rest: Any = 0
        if folded >= 0x4000000:  # one of several letters
            rest = folded & 0x1FFFFF
            folded = sequences[rest]
        while True:
            if folded & 0x2000000 and is_alone:  # a mark of the character before it
                out[count - 1] = fnv(out[count - 1], folded)
            elif 0 < folded < 0x1000000 or folded & 0x2000000:
                value = fnv(value, folded & 0x1FFFFF)
                is_alone = False
            else:
                if value != FNV_OFFSET:
                    out[count] = value ^ (value >> np.uint64(29))
                    count += 1
                    value = FNV_OFFSET
                is_alone = folded > 0
                if is_alone:
                    out[count] = (np.uint64(folded) + np.uint64(1)) * MIX_FIRST
                    count += 1
            if rest == 0:
                break
            rest += 1
            folded = sequences[rest]
            if folded == 0:
                break
    if value != FNV_OFFSET:
        out[count] = value ^ (value >> np.uint64(29))
        count += 1
    return count


@kernel
def _longest(offsets: Any) -> int:
    longest = 1
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest


@kernel
def _entry_hashes(data: Any, offsets: Any, folds: Any) -> Any:
    """The hash, the first word's hash and the number of words of each entry of a list."""
    hashes = np.zeros(offsets.size - 1, np.uint64)
    firsts = np.zeros(offsets.size - 1, np.uint64)
    lengths = np.zeros(offsets.size - 1, np.int64)
    found = np.empty(_longest(offsets), np.uint64)
    for row in range(offsets.size - 1):
        lengths[row] = _words(data, offsets[row], offsets[row + 1], folds, found)
        firsts[row] = found[0]
        for word in range(lengths[row]):
            hashes[row] = hashes[row] * GOLDEN + found[word]
    return hashes, firsts, lengths


@kernel
def _measure(data: Any, offsets: Any, folds: Any, table: Any, starts: Any, has_length: Any) -> Any:
    counts = np.zeros(offsets.size - 1)
    fractions = np.zeros(offsets.size - 1)
    found = np.empty(_longest(offsets), np.uint64)
    mask = np.uint64(table.size - 1)
    for row in range(offsets.size - 1):
        words = _words(data, offsets[row], offsets[row + 1], folds, found)
        occurrences = covered = covered_end = 0
        for word in range(words):
            if not starts[found[word] & np.uint64(0xFFFF)]:
                continue
            value = np.uint64(0)
            for length in range(1, min(has_length.size, words - word + 1)):
                value = value * GOLDEN + found[word + length - 1]
                if not has_length[length]:
                    continue
                wanted = max(value, np.uint64(1))
                at = wanted & mask
                while table[at] != 0 and table[at] != wanted:
                    at = (at + np.uint64(1)) & mask
                if table[at] == wanted:
                    occurrences += 1
                    if word + length > covered_end:
                        covered += word + length - max(word, covered_end)
                        covered_end = word + length
        counts[row] = occurrences
        fractions[row] = covered / max(words, 1)
    return counts, fractions
