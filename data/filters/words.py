"""Word lists: how many words and phrases of a list a text has.

Words are compared folded (``normalise.fold``): without case, accents and compatibility forms, so that ``Naïve`` finds
``naive``. Phrases of several words match whatever punctuation and white space stands between them.

References:
    Raffel et al. 2020, "Exploring the Limits of Transfer Learning" (T5), arXiv 1910.10683, section 2.2: C4 drops pages
    with any word of a list of bad words. Dodge et al. 2021, arXiv 2104.08758, section 5: doing so removes texts by and
    about minorities; a bound on the fraction instead of on one occurrence is gentler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import ngrams
from ..kernels import kernel
from .batch import TextBatch, from_texts
from .lists import hash_table

VALUES = ("listed_count", "listed_fraction")


class WordList(NamedTuple):
    """A list ready to be looked up.

    Attributes:
        table: Hashes of its words and phrases (``lists.hash_table``).
        has_length: Whether any entry has so many words, bool [longest entry + 1].
    """

    table: npt.NDArray[np.uint64]
    has_length: npt.NDArray[np.bool_]


def compile_list(entries: Sequence[str]) -> WordList:
    """Makes a list ready.

    Args:
        entries: Words and phrases.

    Raises:
        ValueError: An entry has no letter or digit.
    """
    found = ngrams.words(from_texts(list(entries)))
    lengths = np.diff(found.offsets)
    if not lengths.all():
        empty = entries[int(np.flatnonzero(lengths == 0)[0])]
        raise ValueError(f"got the list entry {empty!r}, expected at least one letter or digit in it")
    has_length = np.zeros(int(lengths.max(initial=0)) + 1, np.bool_)
    has_length[lengths] = True
    hashes = _phrase_hashes(found.hashes, found.offsets, ngrams.GRAM_BASE)
    return WordList(hash_table(hashes), has_length)


def measure(batch: TextBatch, words: WordList) -> dict[str, np.ndarray]:
    """What of a list is in each text.

    Args:
        batch: The texts.
        words: The list.

    Returns:
        ``listed_count``: occurrences of entries; ``listed_fraction``: words of the text that belong to one, of all its
        words; float64 [documents] each.
    """
    found = ngrams.words(batch)
    counts, fractions = _measure(found.hashes, found.offsets, words.table, words.has_length, ngrams.GRAM_BASE)
    return {"listed_count": counts, "listed_fraction": fractions}


@kernel
def _phrase_hashes(hashes: Any, offsets: Any, base: Any) -> Any:
    out = np.zeros(offsets.size - 1, np.uint64)
    for row in range(offsets.size - 1):
        for at in range(offsets[row], offsets[row + 1]):
            out[row] = out[row] * base + hashes[at]
    return out


@kernel
def _measure(hashes: Any, offsets: Any, table: Any, has_length: Any, base: Any) -> Any:
    counts = np.zeros(offsets.size - 1)
    fractions = np.zeros(offsets.size - 1)
    mask = np.uint64(table.size - 1)
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        occurrences = covered = 0
        covered_end = first
        for word in range(first, end):
            value = np.uint64(0)
            for length in range(1, min(has_length.size, end - word + 1)):
                value = value * base + hashes[word + length - 1]
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
        fractions[row] = covered / max(end - first, 1)
    return counts, fractions
