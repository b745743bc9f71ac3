"""Gopher's repetition rules: how much of a text is said again and again?

Lines, paragraphs and word n-grams are compared by 64-bit hashes in one open-addressing table that is emptied by
raising a generation number, so a document costs no allocation. An n-gram can only occur again where the two
(n-1)-grams in it do, so each length looks at what is left of the one before: of prose a few percent beyond 5 words.

References:
    Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 "Repetition removal" and table A1, for the rules and all default
    thresholds. As there, the top n-grams' shares count every occurrence, the duplicate n-grams' shares count each
    character once. N-grams' lengths include one space between words.
"""

from __future__ import annotations

import numpy as np

from ..kernels import kernel
from .batch import BYTE_TABLES, ByteTables, TextBatch

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
VALUES = (
    "duplicate_line_fraction",
    "duplicate_paragraph_fraction",
    "duplicate_line_character_fraction",
    "duplicate_paragraph_character_fraction",
    *(f"top_{n}_gram_character_fraction" for n in TOP_NGRAMS),
    *(f"duplicate_{n}_gram_character_fraction" for n in DUPLICATE_NGRAMS),
)
_PRIME = np.uint64(0x100000001B3)
_SEED = np.uint64(0xCBF29CE484222325)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads sums of hashes over the table


@kernel
def _slot(keys: np.ndarray, stamps: np.ndarray, stamp: int, key: np.uint64) -> np.uint64:
    """The table's slot for a key in this generation: its own, or the free one where it belongs."""
    mask = np.uint64(len(keys) - 1)
    mixed = (key ^ (key >> np.uint64(29))) * _MIX
    at = (mixed >> np.uint64(20)) & mask
    while stamps[at] == stamp and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@kernel
def _words(
    tables: ByteTables, data: np.ndarray, start: int, end: int, hashes: np.ndarray, ends: np.ndarray
) -> int:
    """Fills hashes and, cumulatively, lengths in characters; returns the number of words."""
    count, at, total = 0, start, 0
    while at < end:
        while at < end and tables.space[data[at]]:
            at += 1
        if at >= end:
            break
        value = _SEED
        while at < end and not tables.space[data[at]]:
            value = (value ^ np.uint64(data[at])) * _PRIME
            total += tables.starts[data[at]]
            at += 1
        hashes[count] = value
        count += 1
        ends[count] = total
    return count


@kernel
def _measure(tables: ByteTables, data: np.ndarray, offsets: np.ndarray, values: np.ndarray) -> None:
    longest = np.int64(0)
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    # A word needs a byte and a space, a line a byte and its end: half the bytes bound both.
    bound = longest // 2 + 2
    size = 64
    while size < 2 * bound:
        size *= 2  # at least the power of two that any document of the batch needs
    keys, stamps, counts = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    hashes, ends = np.zeros(bound, np.uint64), np.zeros(bound + 1, np.int64)
    slots, again = np.zeros(bound, np.int64), np.zeros(bound, np.bool_)
    stamp = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        characters = words = 0
        was_space = True
        for at in range(start, end):
            characters += tables.starts[data[at]]
            now_space = tables.space[data[at]]
            words += was_space and not now_space
            was_space = now_space
        # A table as large as the document needs stays in the cache; there are no more lines than words.
        small = 64
        while small < 2 * words:
            small *= 2
        table, marks, tally = keys[:small], stamps[:small], counts[:small]
        row = values[document]
        if characters == 0:
            continue

        # Lines and paragraphs (runs of lines with text), stripped.
        lines = repeated_lines = repeated_line_characters = 0
        paragraphs = repeated_paragraphs = repeated_paragraph_characters = 0
        line_stamp, paragraph_stamp = stamp + 1, stamp + 2
        stamp += 2
        paragraph, paragraph_characters = _SEED, 0
        at = start
        while at <= end:
            line_end = at
            while line_end < end and data[line_end] != 10:
                line_end += 1
            left, right = at, line_end
            while left < right and tables.space[data[left]]:
                left += 1
            while right > left and tables.space[data[right - 1]]:
                right -= 1
            if left < right:
                value, length = _SEED, 0
                for byte in data[left:right]:
                    value = (value ^ np.uint64(byte)) * _PRIME
                    length += tables.starts[byte]
                lines += 1
                key = value ^ np.uint64(1)  # apart from paragraphs in the same table
                slot = _slot(table, marks, line_stamp, key)
                if marks[slot] == line_stamp:
                    repeated_lines += 1
                    repeated_line_characters += length
                else:
                    table[slot], marks[slot] = key, line_stamp
                paragraph = (paragraph ^ value) * _PRIME
                paragraph_characters += length
            if paragraph_characters and (left >= right or line_end >= end):
                paragraphs += 1
                hashes[paragraphs - 1] = paragraph
                ends[paragraphs - 1] = paragraph_characters
                paragraph, paragraph_characters = _SEED, 0
            at = line_end + 1
        for index in range(paragraphs):
            slot = _slot(table, marks, paragraph_stamp, hashes[index])
            if marks[slot] == paragraph_stamp:
                repeated_paragraphs += 1
                repeated_paragraph_characters += ends[index]
            else:
                table[slot], marks[slot] = hashes[index], paragraph_stamp
        row[0] = repeated_lines / max(lines, 1)
        row[1] = repeated_paragraphs / max(paragraphs, 1)
        row[2] = repeated_line_characters / characters
        row[3] = repeated_paragraph_characters / characters

        ends[0] = 0
        words = _words(tables, data, start, end, hashes, ends)
        for n in range(2, 11):
            stamp += 1
            best = repeated = covered = 0
            for first in range(words - n + 1):
                if n > 2 and not (again[first] and again[first + 1]):
                    slots[first] = -1
                    continue
                key = hashes[first]
                for other in range(first + 1, first + n):
                    key = key * _PRIME + hashes[other]
                slot = _slot(table, marks, stamp, key)
                slots[first] = slot
                if marks[slot] != stamp:
                    table[slot], marks[slot], tally[slot] = key, stamp, 1
                    continue
                tally[slot] += 1
                if n < 5:
                    # Of n-grams that occur equally often the longest counts.
                    best = max(best, tally[slot] * (ends[first + n] - ends[first] + n - 1))
                else:
                    # Each character once: only the words that the last duplicate did not reach.
                    begin = max(first, covered)
                    repeated += ends[first + n] - ends[begin] + (first + n - begin - 1) + (begin > first)
                    covered = first + n
            row[2 + n] = min(1.0, (best if n < 5 else repeated) / characters)
            any_again = False
            for first in range(words - n + 1):
                again[first] = slots[first] >= 0 and tally[slots[first]] > 1
                any_again = any_again or again[first]
            if not any_again:
                break


def measure(batch: TextBatch) -> dict[str, np.ndarray]:
    """The values that the rules bound.

    Args:
        batch: The texts.

    Returns:
        Each name of ``VALUES`` -> float64 [documents] in [0, 1].
    """
    values = np.zeros((len(batch), len(VALUES)))
    if len(batch):
        _measure(BYTE_TABLES, batch.data, batch.offsets, values)
    return {name: values[:, index] for index, name in enumerate(VALUES)}
