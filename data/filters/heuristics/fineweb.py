"""FineWeb's quality rules: pages that are lists, menus or the same line again.

Lines are split at line feeds; those of white space alone do not count.

References:
    Penedo et al. 2024, "The FineWeb Datasets", arXiv 2406.17557, section 3.6 and appendix: the rules, found by
    comparing the statistics of good and bad crawls, and the thresholds; of those four, datatrove's
    FineWebQualityFilter has the lengths and the order.
"""

from __future__ import annotations

import numpy as np

from millrace.data.text.batch import TextBatch
from millrace.data.text.characters import CharacterTables, character_tables
from millrace.data.text.hashing import GOLDEN
from millrace.data.text.kernels import kernel
from millrace.data.text.structure import structure_of
from millrace.data.text.words_and_lines import Structure

VALUES = (
    "lines",
    "punctuated_line_fraction",
    "short_line_fraction",
    "duplicate_line_character_fraction",
    "newlines_per_word",
)


@kernel
def _ends_sentence(tables: CharacterTables, data: np.ndarray, start: int, end: int) -> bool:
    """Whether the last character of some bytes ends sentences in its script."""
    terminal = 1024  # of characters.py
    last = data[end - 1]
    if last < 0x80:
        return tables.of_byte[last] & terminal != 0
    at = end - 1
    point, shift = np.int64(0), 0
    while at > start and data[at] & 0xC0 == 0x80:
        point |= (np.int64(data[at]) & 0x3F) << shift
        shift += 6
        at -= 1
    lead = np.int64(data[at])
    point |= (lead & (0x1F if lead < 0xE0 else 0x0F if lead < 0xF0 else 0x07)) << shift
    return bool(point < len(tables.of_code_point) and tables.of_code_point[point] & terminal != 0)


@kernel
def _measure(
    tables: CharacterTables,
    data: np.ndarray,
    offsets: np.ndarray,
    found: Structure,
    short_line: int,
    values: np.ndarray,
) -> None:
    most = np.int64(0)
    for document in range(len(offsets) - 1):
        most = max(most, found.first_lines[document + 1] - found.first_lines[document])
    size = 16
    while size < 2 * most:
        size *= 2
    keys, used = np.empty(size, np.uint64), np.empty(size, np.bool_)
    for document in range(len(offsets) - 1):
        base = offsets[document]
        first, last = found.first_lines[document], found.first_lines[document + 1]
        small = 16
        while small < 2 * (last - first):
            small *= 2
        used[:small] = False
        mask = np.uint64(small - 1)
        lines = punctuated = short = repeated = 0
        for line in range(first, last):
            if not found.line_words[line]:
                continue
            lines += 1
            start, end = base + found.line_starts[line], base + found.line_ends[line]
            punctuated += _ends_sentence(tables, data, start, end)
            short += found.line_characters[line] <= short_line
            key = found.line_hashes[line]
            at = ((key * GOLDEN) >> np.uint64(32)) & mask
            while used[at] and keys[at] != key:
                at = (at + np.uint64(1)) & mask
            if used[at]:
                repeated += found.line_characters[line]
            else:
                used[at], keys[at] = True, key
        newlines = last - first - 1
        words = found.first_words[document + 1] - found.first_words[document]
        row = values[document]
        row[0] = lines
        row[1] = punctuated / max(lines, 1)
        row[2] = short / max(lines, 1)
        row[3] = repeated / max(found.characters[document] - newlines, 1)
        row[4] = newlines / max(words, 1)


def measure(
    batch: TextBatch, short_line_characters: int = 30, structure: Structure | None = None
) -> dict[str, np.ndarray]:
    """The values that the rules bound.

    Args:
        batch: The texts.
        short_line_characters: Longest line that counts as short.
        structure: The batch's words and lines, where they are known.

    Returns:
        Each name of ``VALUES`` -> float64 [documents].
    """
    values = np.zeros((len(VALUES), len(batch)))
    found = structure or structure_of(batch)
    _measure(character_tables(), batch.data, batch.offsets, found, short_line_characters, values.T)
    return dict(zip(VALUES, values, strict=True))
