"""Gopher's quality rules: does a text look like prose that somebody wrote?

Words are runs between white space, lengths are in characters, lines are those of ``str.splitlines``. Words of nothing
but punctuation are not counted as words, nor in the mean length, as in datatrove's GopherQualityFilter, whose
decisions these are on the same words; stop words count as they are written, in lower case with nothing attached.

References:
    Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", arXiv 2112.11446,
    appendix A.1.1 "Quality filtering", for the rules and all default thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..kernels import kernel
from .batch import TextBatch
from .structure import Structure, structure_of, word_hash

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
VALUES = (
    "words",
    "mean_word_characters",
    "hash_fraction",
    "ellipsis_fraction",
    "bullet_line_fraction",
    "ellipsis_line_fraction",
    "alphabetic_word_fraction",
    "stop_words",
)


@kernel
def _ellipsis_at(data: np.ndarray, at: int, end: int) -> bool:
    """Whether ``...`` or U+2026 starts here."""
    if at + 3 > end:
        return False
    if data[at] == 46:
        return data[at + 1] == 46 and data[at + 2] == 46
    return data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA6


@kernel
def _measure(
    data: np.ndarray, offsets: np.ndarray, found: Structure, stop_hashes: np.ndarray, values: np.ndarray
) -> None:
    alphabetic_bit, word_bit, hash_bit, dots_bit = 1, 2, 4, 16  # of characters.py
    is_stop = np.zeros(256, np.bool_)  # by a hash's low byte: most words need no further look
    for value in stop_hashes:
        is_stop[value & np.uint64(255)] = True
    seen = np.zeros(len(stop_hashes), np.bool_)
    for document in range(len(offsets) - 1):
        base = offsets[document]
        first, last = found.first_words[document], found.first_words[document + 1]
        words = characters = alphabetic = hashes = ellipses = 0
        seen[:] = False
        for word in range(first, last):
            kinds = found.word_kinds[word]
            alphabetic += kinds & alphabetic_bit
            if kinds & word_bit:
                words += 1
                characters += found.word_characters[word]
            if kinds & (hash_bit | dots_bit):
                at, end = base + found.word_starts[word], base + found.word_ends[word]
                while at < end:
                    hashes += data[at] == 35
                    if _ellipsis_at(data, at, end):
                        ellipses += 1
                        at += 2
                    at += 1
            value = found.word_hashes[word]
            if is_stop[value & np.uint64(255)]:
                for index in range(len(stop_hashes)):
                    if value == stop_hashes[index]:
                        seen[index] = True
        bullets = trailing = 0
        first_line, last_line = found.first_breaks[document], found.first_breaks[document + 1]
        for line in range(first_line, last_line):
            left = first + found.break_words[line]
            right = first + found.break_words[line + 1] if line + 1 < last_line else last
            if left == right:
                continue
            at = base + found.word_starts[left]
            bullets += data[at] == 45 or (data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA2)
            if found.word_kinds[right - 1] & dots_bit:
                end = base + found.word_ends[right - 1]
                trailing += end - 3 >= base + found.word_starts[right - 1] and _ellipsis_at(
                    data, end - 3, end
                )
        row = values[document]
        row[0] = words
        row[1] = characters / max(words, 1)
        row[2] = hashes / max(last - first, 1)
        row[3] = ellipses / max(last - first, 1)
        row[4] = bullets / max(last_line - first_line, 1)
        row[5] = trailing / max(last_line - first_line, 1)
        row[6] = alphabetic / max(last - first, 1)
        row[7] = np.sum(seen)


def measure(
    batch: TextBatch, stop_words: Sequence[str] = STOP_WORDS, structure: Structure | None = None
) -> dict[str, np.ndarray]:
    """The values that the rules bound.

    Args:
        batch: The texts.
        stop_words: Words of which a text of the language has several.
        structure: The batch's words and lines, where they are known.

    Returns:
        Each name of ``VALUES`` -> float64 [documents]. Fractions are per word, punctuation included, or per line,
        empty ones included; ``stop_words`` counts how many different ones occur.
    """
    hashes = np.array([word_hash(word) for word in dict.fromkeys(stop_words)], np.uint64)
    values = np.zeros((len(VALUES), len(batch)))
    _measure(batch.data, batch.offsets, structure or structure_of(batch), hashes, values.T)
    return dict(zip(VALUES, values, strict=True))
