"""Gopher's quality rules: does a text look like prose that somebody wrote?

One compiled pass over the bytes gives every value. Words are runs between ASCII white space, lengths are in
characters, and every character outside ASCII counts as a letter; lines are those with something on them.

References:
    Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", arXiv 2112.11446,
    appendix A.1.1 "Quality filtering", for the rules and all default thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..kernels import kernel
from .batch import BYTE_TABLES, ByteTables, TextBatch

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
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a, 64 bits


@kernel
def _word_hash(tables: ByteTables, data: np.ndarray, start: int, end: int) -> np.uint64:
    """Hash of a word's letters and digits in lower case, so that ``The,`` is ``the``."""
    value = _SEED
    for at in range(start, end):
        byte = data[at]
        if tables.letter[byte] or tables.digit[byte] or byte >= 0x80:
            value = (value ^ np.uint64(byte | 32 if 65 <= byte <= 90 else byte)) * _PRIME
    return value


@kernel
def _is_bullet(data: np.ndarray, start: int, end: int) -> bool:
    """Whether a stripped line starts with - * + or one of the bullets (U+2022, 2023, 25E6, 25AA) or an en dash."""
    first = data[start]
    if first == 45 or first == 42 or first == 43:
        return True
    if first != 0xE2 or end - start < 3:
        return False
    second, third = data[start + 1], data[start + 2]
    return (second == 0x80 and (third == 0xA2 or third == 0xA3 or third == 0x93)) or (
        (second == 0x97 and third == 0xA6) or (second == 0x96 and third == 0xAA)
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
    tables: ByteTables, data: np.ndarray, offsets: np.ndarray, stop_hashes: np.ndarray, values: np.ndarray
) -> None:
    seen = np.zeros(len(stop_hashes), np.bool_)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        words = characters = alphabetic = hashes = ellipses = 0
        seen[:] = False
        at = start
        while at < end:
            while at < end and tables.space[data[at]]:
                at += 1
            if at >= end:
                break
            word_start, has_letter = at, False
            while at < end and not tables.space[data[at]]:
                byte = data[at]
                characters += tables.starts[byte]
                has_letter = has_letter or tables.letter[byte]
                hashes += byte == 35
                at += 1
            words += 1
            alphabetic += has_letter
            if at - word_start <= 24:
                value = _word_hash(tables, data, word_start, at)
                for index in range(len(stop_hashes)):
                    if value == stop_hashes[index]:
                        seen[index] = True
        at = start
        while at < end:
            if _ellipsis_at(data, at, end):
                ellipses += 1
                at += 3
            else:
                at += 1
        lines = bullets = trailing = 0
        at = start
        while at < end:
            line_end = at
            while line_end < end and data[line_end] != 10:
                line_end += 1
            left, right = at, line_end
            while left < right and tables.space[data[left]]:
                left += 1
            while right > left and tables.space[data[right - 1]]:
                right -= 1
            if left < right:
                lines += 1
                bullets += _is_bullet(data, left, right)
                trailing += right - left >= 3 and _ellipsis_at(data, right - 3, right)
            at = line_end + 1
        row = values[document]
        row[0] = words
        row[1] = characters / max(words, 1)
        row[2] = hashes / max(words, 1)
        row[3] = ellipses / max(words, 1)
        row[4] = bullets / max(lines, 1)
        row[5] = trailing / max(lines, 1)
        row[6] = alphabetic / max(words, 1)
        row[7] = np.sum(seen)


def measure(batch: TextBatch, stop_words: Sequence[str] = STOP_WORDS) -> dict[str, np.ndarray]:
    """The values that the rules bound.

    Args:
        batch: The texts.
        stop_words: Words of which a text of the language has several; lower case.

    Returns:
        Each name of ``VALUES`` -> float64 [documents]. Fractions are per word or per line with text on it;
        ``stop_words`` counts how many different ones occur.
    """
    encoded = [np.frombuffer(word.encode(), np.uint8) for word in dict.fromkeys(stop_words)]
    hashes = np.array([_word_hash(BYTE_TABLES, word, 0, len(word)) for word in encoded], np.uint64)
    values = np.zeros((len(batch), len(VALUES)))
    _measure(BYTE_TABLES, batch.data, batch.offsets, hashes, values)
    return {name: values[:, index] for index, name in enumerate(VALUES)}
