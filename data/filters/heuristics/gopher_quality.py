"""Gopher's quality rules: does a text look like prose that somebody wrote?

Words are runs between white space, lengths are in characters, lines are those of ``str.splitlines``. Words of
punctuation alone count neither as words nor in the mean length, as in datatrove's GopherQualityFilter; on the same
words the decisions are the same; stop words count as they are written, in lower case with nothing attached.

References:
    Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", arXiv 2112.11446,
    appendix A.1.1 "Quality filtering", for the rules and all default thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millrace.data.text.batch import TextBatch
from millrace.data.text.kernels import kernel
from millrace.data.text.simd import bytes_between, settled
from millrace.data.text.structure import structure_of, word_hash
from millrace.data.text.words_and_lines import Structure

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
def _stop_places(stop_hashes: np.ndarray) -> np.ndarray:
    """A table from a hash's low bits to the only stop word that has them, or else to the number of stop words."""
    size = 256
    while True:
        places = np.full(size, len(stop_hashes), np.uint16)
        is_free = True
        for index in range(len(stop_hashes)):
            at = stop_hashes[index] & np.uint64(size - 1)
            is_free &= places[at] == len(stop_hashes)
            places[at] = index
        if is_free:
            return places
        size *= 2


@kernel
def _rare_counts(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """How many hash signs and how many ellipses a word has."""
    hashes = ellipses = 0
    while at < end:
        hashes += data[at] == 35
        if _ellipsis_at(data, at, end):
            ellipses += 1
            at += 2
        at += 1
    return hashes, ellipses


@kernel
def _may_have_ellipsis(data: np.ndarray, at: int, end: int) -> bool:
    """Whether a word has three full stops in a row or a byte that U+2026 starts with; a long one may."""
    if end - at >= 64 or at + 64 > len(data):
        return True
    one = np.uint64(1)
    own = (one << np.uint64(end - at)) - one
    stops = settled(bytes_between(data, at, 46, 46)) & own
    leads = settled(bytes_between(data, at, 0xE2, 0xE2)) & own
    return (stops & stops >> one & stops >> np.uint64(2) | leads) != 0


@kernel
def _count(kinds: np.ndarray, lengths: np.ndarray) -> tuple[np.int64, np.int64, np.int64]:
    """How many words have letters, how many are more than punctuation, and how many characters those have."""
    alphabetic = words = characters = np.uint32(0)
    for word in range(len(kinds)):
        alphabetic += np.uint32(kinds[word] & np.uint8(1))
        words += np.uint32(kinds[word] >> np.uint8(1) & np.uint8(1))
    for word in range(len(kinds)):
        characters += np.uint32(lengths[word]) * np.uint32(kinds[word] >> np.uint8(1) & np.uint8(1))
    return np.int64(alphabetic), np.int64(words), np.int64(characters)


@kernel
def _see(hashes: np.ndarray, places: np.ndarray, stop_hashes: np.ndarray, seen: np.ndarray) -> np.int64:
    """How many of the stop words occur; the last of ``stop_hashes`` stands for every other word."""
    low_bits, none = np.uint64(len(places) - 1), np.uint64(len(stop_hashes) - 1)
    seen[:] = False
    for word in range(len(hashes)):
        place = np.uint64(places[hashes[word] & low_bits])
        seen[place if stop_hashes[place] == hashes[word] else none] = True
    return np.int64(np.sum(seen[:-1]))


@kernel
def _marks(
    data: np.ndarray, base: int, kinds: np.ndarray, starts: np.ndarray, ends: np.ndarray, rare: np.ndarray
) -> tuple[int, int]:
    """How many hash signs and ellipses a text has; ``rare`` is overwritten."""
    hash_bit, dots_bit = np.uint8(4), np.uint8(16)  # of characters.py
    count = np.uint64(0)
    for word in range(len(kinds)):
        rare[count] = word
        count += np.uint64((kinds[word] & (hash_bit | dots_bit)) != 0)
    hashes = ellipses = 0
    for word in rare[:count]:
        at, end = base + starts[word], base + ends[word]
        if kinds[word] & hash_bit or _may_have_ellipsis(data, at, end):
            more = _rare_counts(data, at, end)
            hashes += more[0]
            ellipses += more[1]
    return hashes, ellipses


@kernel
def _line_marks(
    data: np.ndarray, base: int, kinds: np.ndarray, starts: np.ndarray, ends: np.ndarray, firsts: np.ndarray
) -> tuple[int, int]:
    """How many lines start with a bullet and how many end with an ellipsis; ``firsts`` are their first words."""
    dots_bit = 16  # of characters.py
    bullets = trailing = 0
    for line in range(len(firsts)):
        left = firsts[line]
        right = firsts[line + 1] if line + 1 < len(firsts) else len(kinds)
        if left == right:
            continue
        at = base + starts[left]
        bullets += data[at] == 45 or (data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA2)
        if kinds[right - 1] & dots_bit:
            end = base + ends[right - 1]
            trailing += end - 3 >= base + starts[right - 1] and _ellipsis_at(data, end - 3, end)
    return bullets, trailing


@kernel
def _measure(
    data: np.ndarray, offsets: np.ndarray, found: Structure, stop_hashes: np.ndarray, values: np.ndarray
) -> None:
    places = _stop_places(stop_hashes)
    stop_hashes = np.append(stop_hashes, np.uint64(0))
    seen = np.empty(len(stop_hashes), np.bool_)
    most = np.int64(0)
    for document in range(len(offsets) - 1):
        most = max(most, found.first_words[document + 1] - found.first_words[document])
    rare = np.empty(most + 1, np.int32)
    for document in range(len(offsets) - 1):
        base = offsets[document]
        first, last = found.first_words[document], found.first_words[document + 1]
        breaks = found.break_words[found.first_breaks[document] : found.first_breaks[document + 1]]
        kinds = found.word_kinds[first:last]
        starts, ends = found.word_starts[first:last], found.word_ends[first:last]
        alphabetic, words, characters = _count(kinds, found.word_characters[first:last])
        hashes, ellipses = _marks(data, base, kinds, starts, ends, rare)
        bullets, trailing = _line_marks(data, base, kinds, starts, ends, breaks)
        row = values[document]
        row[0] = words
        row[1] = characters / max(words, 1)
        row[2] = hashes / max(last - first, 1)
        row[3] = ellipses / max(last - first, 1)
        row[4] = bullets / max(len(breaks), 1)
        row[5] = trailing / max(len(breaks), 1)
        row[6] = alphabetic / max(last - first, 1)
        row[7] = _see(found.word_hashes[first:last], places, stop_hashes, seen)


def measure(
    batch: TextBatch, stop_words: Sequence[str] = STOP_WORDS, structure: Structure | None = None
) -> dict[str, np.ndarray]:
    """The values that the rules bound.

    Args:
        batch: The texts.
        stop_words: Frequent words of the language.
        structure: The batch's words and lines, where they are known.

    Returns:
        Each name of ``VALUES`` -> float64 [documents]. Fractions are per word, punctuation included, or per line,
        empty ones included; ``stop_words`` counts how many different ones occur.
    """
    hashes = np.array([word_hash(word) for word in dict.fromkeys(stop_words)], np.uint64)
    values = np.zeros((len(VALUES), len(batch)))
    _measure(batch.data, batch.offsets, structure or structure_of(batch), hashes, values.T)
    return dict(zip(VALUES, values, strict=True))
