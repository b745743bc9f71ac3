"""Gopher's repetition rules: how much of a text is said again and again?

Lines, paragraphs and word n-grams are compared by 64-bit hashes in open-addressing tables just large enough for the
document, which stay in the processor's first cache. Most pairs of words occur once: two passes without a branch count
them by some bits of their hashes, and only a pair whose bits occur again is looked up. An n-gram can only occur again
where the two (n-1)-grams in it do, so each length looks at what is left of the one before: of prose a few percent
beyond three words.

Three choices are those of datatrove's GopherRepetitionFilter, whose decisions these are on the same words: duplicate
n-grams are looked for from left to right, going on behind each one found; the top n-gram is the first of those that
occur most often, even if that is once; paragraphs are separated by two or more line feeds.

References:
    Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 "Repetition removal" and table A1, for the rules and all default
    thresholds.
"""

from __future__ import annotations

import numpy as np

from millrace.data.text.batch import TextBatch
from millrace.data.text.hashing import FNV_OFFSET, FNV_PRIME, GOLDEN
from millrace.data.text.kernels import kernel
from millrace.data.text.structure import structure_of
from millrace.data.text.words_and_lines import Structure

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
VALUES = (
    "characters",
    "duplicate_paragraph_fraction",
    "duplicate_paragraph_character_fraction",
    "duplicate_line_fraction",
    "duplicate_line_character_fraction",
    *(f"top_{n}_gram_character_fraction" for n in TOP_NGRAMS),
    *(f"duplicate_{n}_gram_character_fraction" for n in DUPLICATE_NGRAMS),
)


@kernel
def _table_bits(keys: int) -> int:
    """The logarithm of the size of a table that leaves half of the slots free."""
    bits = 4
    while 1 << bits < 2 * keys:
        bits += 1
    return bits


@kernel
def _slot(keys: np.ndarray, counts: np.ndarray, key: np.uint64, bits: int) -> np.uint64:
    """A key's slot, by its upper bits: its own, or the free one where it belongs."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    at = key >> np.uint64(64 - bits)
    while counts[at] and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@kernel
def _repeats(parts: np.ndarray, lengths: np.ndarray, keys: np.ndarray, counts: np.ndarray) -> tuple[int, int]:
    """How many parts occurred before, and how many characters they have."""
    if len(parts) < 2:
        return 0, 0
    bits = _table_bits(len(parts))
    counts[: 1 << bits] = 0
    repeated = characters = 0
    for index in range(len(parts)):
        slot = _slot(keys, counts, parts[index], bits)
        if counts[slot]:
            repeated += 1
            characters += lengths[index]
        else:
            keys[slot], counts[slot] = parts[index], 1
    return repeated, characters


@kernel
def _candidates(hashes: np.ndarray, marks: np.ndarray, places: np.ndarray) -> np.int64:
    """Fills in where pairs of words start that may occur again, and some that do not; returns their number.

    Args:
        hashes: Of the words.
        marks: Overwritten.
        places: Filled in.
    """
    bits = _table_bits(len(hashes)) + 3
    marks[: 1 << bits] = 0
    shift, one = np.uint64(64 - bits), np.uint8(1)
    for place in range(len(hashes) - 1):
        slot = (hashes[place] * FNV_PRIME + hashes[place + 1]) >> shift
        marks[slot] = marks[slot] << one | one
    count = np.uint64(0)
    for place in range(len(hashes) - 1):
        slot = (hashes[place] * FNV_PRIME + hashes[place + 1]) >> shift
        places[count] = place
        count += np.uint64(marks[slot] > one)
    return np.int64(count)


@kernel
def _lines(found: Structure, document: int, parts: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    """Fills in the lines that are not empty; returns their number and that of ``re.split`` at runs of line feeds."""
    first, last = found.first_lines[document], found.first_lines[document + 1]
    count = 0
    for line in range(first, last):
        if found.line_characters[line]:
            parts[count], lengths[count] = found.line_hashes[line], found.line_characters[line]
            count += 1
    # Splitting leaves an empty string before leading and behind trailing line feeds, the second repeating the first.
    leading = found.line_characters[first] == 0
    trailing = last - first > 1 and found.line_characters[last - 1] == 0
    return count, leading + trailing


@kernel
def _paragraphs(found: Structure, document: int, parts: np.ndarray, lengths: np.ndarray) -> int:
    """Fills in the paragraphs of the text without white space around it; returns their number."""
    first, last = found.first_lines[document], found.first_lines[document + 1]
    while first < last and not found.line_words[first]:
        first += 1
    while last > first and not found.line_words[last - 1]:
        last -= 1
    count, value, length = 0, FNV_OFFSET, 0
    for line in range(first, last):
        if not found.line_characters[line]:
            continue
        own = found.line_hashes[line]
        if line == first:
            own = found.outer_hashes[document, 0]
        elif line == last - 1:
            own = found.outer_hashes[document, 1]
        value = (value ^ own) * GOLDEN
        length += found.line_characters[line] + 1
        if line + 1 == last or not found.line_characters[line + 1]:
            parts[count], lengths[count] = value, length - 1
            count, value, length = count + 1, FNV_OFFSET, 0
    return count


@kernel
def _sum(lengths: np.ndarray, first: int, count: int) -> int:
    total = 0
    for index in range(first, first + count):
        total += lengths[index]
    return total


@kernel
def _measure(found: Structure, values: np.ndarray) -> None:
    longest = np.int64(0)
    for document in range(len(found.characters)):
        longest = max(longest, found.first_words[document + 1] - found.first_words[document])
        longest = max(longest, found.first_lines[document + 1] - found.first_lines[document])
    size = 1 << _table_bits(longest)
    keys, tally, starts = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.int32)
    marks = np.empty(8 * size, np.uint8)
    parts, part_lengths = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.int64)
    places, slots = np.empty(longest + 1, np.int32), np.empty(longest + 1, np.uint32)
    for document in range(len(found.characters)):
        row = values[document]
        characters = found.characters[document]
        row[0] = characters
        if not characters:
            continue
        count = _paragraphs(found, document, parts, part_lengths)
        repeated, repeated_characters = _repeats(parts[:count], part_lengths, keys, tally)
        row[1] = repeated / max(count, 1)
        row[2] = repeated_characters / characters
        count, empty = _lines(found, document, parts, part_lengths)
        repeated, repeated_characters = _repeats(parts[:count], part_lengths, keys, tally)
        row[3] = (repeated + (empty == 2)) / (count + empty)
        row[4] = repeated_characters / characters

        first, last = found.first_words[document], found.first_words[document + 1]
        hashes, lengths = found.word_hashes[first:last], found.word_characters[first:last]
        candidates = _candidates(hashes, marks, places)
        for n in range(2, 11):
            if last - first < n:
                break
            bits = _table_bits(candidates)
            tally[: 1 << bits] = 0
            best, best_place = 1, 0
            for index in range(candidates):
                place = places[index]
                key = hashes[place]
                for other in range(place + 1, place + n):
                    key = key * FNV_PRIME + hashes[other]
                slot = _slot(keys, tally, key, bits)
                slots[index] = slot
                if tally[slot]:
                    tally[slot] += 1
                    if tally[slot] > best or (tally[slot] == best and starts[slot] < best_place):
                        best, best_place = tally[slot], starts[slot]
                else:
                    keys[slot], tally[slot], starts[slot] = key, 1, place
            if n <= 4:
                row[3 + n] = best * (_sum(lengths, best_place, n) + n - 1) / characters
            else:
                # An n-gram is marked as seen where the search stopped at it; ``starts`` turns into that mark.
                repeated, free = 0, 0
                starts[: 1 << bits] = -1
                for index in range(candidates):
                    place = places[index]
                    if place < free:
                        continue
                    slot = slots[index]
                    if starts[slot] >= 0:
                        repeated += _sum(lengths, place, n)
                        free = place + n
                    else:
                        starts[slot] = place
                row[3 + n] = repeated / characters
            left = 0
            for index in range(candidates - 1):
                if (
                    places[index + 1] == places[index] + 1
                    and tally[slots[index]] > 1
                    and tally[slots[index + 1]] > 1
                ):
                    places[left] = places[index]
                    left += 1
            candidates = left
            if not candidates and n >= 4:
                break


def measure(batch: TextBatch, structure: Structure | None = None) -> dict[str, np.ndarray]:
    """The values that the rules bound.

    Args:
        batch: The texts.
        structure: The batch's words and lines, where they are known.

    Returns:
        Each name of ``VALUES`` -> float64 [documents]. Shares are of all characters of the text; duplicate n-grams
        count their words' characters, top n-grams the spaces between as well, so that one that overlaps itself can
        pass 1.
    """
    values = np.zeros((len(VALUES), len(batch)))
    _measure(structure or structure_of(batch), values.T)
    return dict(zip(VALUES, values, strict=True))
