"""Which benchmark examples a document repeats, by shared word n-grams.

An example's n-grams (13 words; all its words when it is shorter, down to a minimum) are looked up in every document
through a sorted array of hashes behind a bitmap that turns nearly all lookups away at once. What counts as
contamination depends on the type of benchmark:

- A question is contaminated by any shared n-gram: thirteen words of a question in its answer's context do not happen
  by chance.
- A held-out text is a whole file, and files share boilerplate: n-grams that occur in many training documents say
  nothing, and a shared remark is no copy. Its n-grams count unless they are common in the corpus, and a document
  repeats it when it holds a certain share of those.

References:
    Brown et al. 2020, "Language models are few-shot learners" (arXiv 2005.14165), appendix C: 13-grams, shorter
    examples down to 8 words, n-grams found in many documents ignored; Gemini 1.0 report (arXiv 2312.11805), section
    5: evaluation data is filtered out of the training corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import ngrams
from .filters.batch import TextBatch, from_texts

Integers = npt.NDArray[np.int64]
# A bitmap of 64 bits per n-gram lets 1 in 64 unrelated lookups through to the sorted search.
BITMAP_BITS_PER_GRAM = 64
MAX_BITMAP_BITS = 28


@dataclass(frozen=True)
class GramIndex:
    """The n-grams of all examples; gram ids are places in ``hashes``.

    Attributes:
        sizes: Words of each n-gram, int64 [grams], ascending.
        hashes: uint64 [grams], ascending among n-grams of one size.
        first_posting: Where a gram's examples start in ``postings``, int64 [grams + 1].
        postings: Examples that hold a gram, int64; each once per gram.
        is_text: Whether an example is a held-out text, bool [examples].
        example_grams: Distinct n-grams of each example, int64 [examples]; 0 when it is too short to check.
    """

    sizes: Integers
    hashes: npt.NDArray[np.uint64]
    first_posting: Integers
    postings: Integers
    is_text: npt.NDArray[np.bool_]
    example_grams: Integers

    @classmethod
    def build(
        cls, texts: Sequence[str], is_text: Sequence[bool], ngram_words: int, min_words: int
    ) -> GramIndex:
        """Indexes examples.

        Args:
            texts: What each example says.
            is_text: Whether it is a held-out text and not a question.
            ngram_words: Words per n-gram.
            min_words: An example with fewer words than an n-gram is one n-gram of all its words, if it has this many.
        """
        words = ngrams.words(from_texts(texts))
        found = ngrams.grams(words, ngram_words, min_words)
        examples = np.repeat(np.arange(len(texts)), np.diff(found.offsets))
        sizes = np.minimum(np.diff(words.offsets), ngram_words)[examples]
        order = np.lexsort((examples, found.hashes, sizes))
        sizes, hashes, examples = sizes[order], found.hashes[order], examples[order]
        is_new = np.ones(len(hashes), bool)
        is_new[1:] = (hashes[1:] != hashes[:-1]) | (sizes[1:] != sizes[:-1])
        is_posting = is_new.copy()
        is_posting[1:] |= examples[1:] != examples[:-1]
        grams = (np.cumsum(is_new) - 1)[is_posting]
        return cls(
            sizes=sizes[is_new],
            hashes=hashes[is_new],
            first_posting=np.searchsorted(grams, np.arange(int(is_new.sum()) + 1)),
            postings=examples[is_posting],
            is_text=np.array(is_text, bool),
            example_grams=np.bincount(examples[is_posting], minlength=len(texts)),
        )

    def save(self, path: Path) -> None:
        """Writes the index for the workers that look documents up in it."""
        np.savez(path, **self.__dict__)

    @classmethod
    def load(cls, path: Path) -> GramIndex:
        """Reads what ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)


class Hits(NamedTuple):
    """Where documents of a batch hold n-grams of examples; all arrays have one entry per occurrence.

    Attributes:
        rows: Document, ascending.
        grams: Gram id.
        starts: First byte of the n-gram in the folded text.
        ends: Its last byte, exclusive.
    """

    rows: Integers
    grams: Integers
    starts: Integers
    ends: Integers


def find(index: GramIndex, batch: TextBatch) -> Hits:
    """Looks every n-gram of every document up."""
    words = ngrams.words(batch)
    parts = []
    for size in np.unique(index.sizes).tolist():
        low, high = np.searchsorted(index.sizes, [size, size + 1])
        known = index.hashes[low:high]
        found = ngrams.grams(words, size, min_words=size)
        bits = min(int(known.size * BITMAP_BITS_PER_GRAM).bit_length(), MAX_BITMAP_BITS)
        shift = np.uint64(64 - bits)
        bitmap = np.zeros(1 << bits, bool)
        bitmap[known >> shift] = True
        at = np.flatnonzero(bitmap[found.hashes >> shift])
        place = np.minimum(np.searchsorted(known, found.hashes[at]), known.size - 1)
        is_known = known[place] == found.hashes[at]
        at, place = at[is_known], place[is_known]
        rows = np.searchsorted(found.offsets, at, side="right") - 1
        first = words.offsets[rows] + at - found.offsets[rows]
        parts.append(Hits(rows, low + place, words.starts[first], words.ends[first + size - 1]))
    if not parts:
        return Hits(*(np.zeros(0, np.int64) for _ in range(4)))
    joined = Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    order = np.lexsort((joined.grams, joined.starts, joined.rows))
    return Hits(*(column[order] for column in joined))


def documents_with(index: GramIndex, hits: Hits) -> Integers:
    """How many documents of a batch hold each gram, int64 [grams]."""
    _, grams = _distinct(hits.rows, hits.grams)
    return np.bincount(grams, minlength=index.hashes.size)


@dataclass(frozen=True)
class Rule:
    """What counts as contamination.

    Attributes:
        is_common: Grams that do not count for held-out texts, bool [grams].
        min_text_coverage: Share of a text's other grams that a document must hold to repeat it.
    """

    is_common: npt.NDArray[np.bool_]
    min_text_coverage: float

    def countable(self, index: GramIndex) -> Integers:
        """How many grams of each example count, int64 [examples]."""
        examples, counts = _posted(index, np.arange(index.hashes.size), self.is_common)
        return np.bincount(examples[counts], minlength=index.example_grams.size)


class Overlaps(NamedTuple):
    """Which documents repeat which examples; one entry per pair, by document, the fullest repetition first.

    Attributes:
        rows: Document.
        examples: Example.
        shared: Distinct n-grams that they share and that count.
        coverage: The share of the example's n-grams that this is.
    """

    rows: Integers
    examples: Integers
    shared: Integers
    coverage: npt.NDArray[np.float64]


def judge(index: GramIndex, hits: Hits, rule: Rule) -> Overlaps:
    """The pairs of a batch's documents and examples that are contamination."""
    rows, grams = _distinct(hits.rows, hits.grams)
    lengths = np.diff(index.first_posting)[grams]
    examples, counts = _posted(index, grams, rule.is_common)
    pairs, shared = np.unique(
        np.stack([np.repeat(rows, lengths)[counts], examples[counts]], axis=1), axis=0, return_counts=True
    )
    rows, examples = pairs[:, 0], pairs[:, 1]
    coverage = shared / rule.countable(index)[examples]
    is_copy = ~index.is_text[examples] | (coverage >= rule.min_text_coverage)
    rows, examples, shared, coverage = rows[is_copy], examples[is_copy], shared[is_copy], coverage[is_copy]
    order = np.lexsort((examples, -shared, rows))
    return Overlaps(rows[order], examples[order], shared[order], coverage[order])


def contaminated_by(index: GramIndex, is_found: npt.NDArray[np.bool_], rule: Rule) -> npt.NDArray[np.bool_]:
    """Which examples a whole set of documents repeats, bool [examples].

    Args:
        index: The examples.
        is_found: Whether any of the documents holds a gram, bool [grams].
        rule: As for single documents; a text's coverage is by all the documents together.
    """
    examples, counts = _posted(index, np.flatnonzero(is_found), rule.is_common)
    shared = np.bincount(examples[counts], minlength=index.example_grams.size)
    coverage = shared / np.maximum(rule.countable(index), 1)
    return (shared > 0) & (~index.is_text | (coverage >= rule.min_text_coverage))


def longest_span(index: GramIndex, hits: Hits, row: int, example: int, rule: Rule) -> tuple[int, int]:
    """The longest stretch of a document that consists of an example's n-grams, as bytes of its folded text."""
    low, high = np.searchsorted(hits.rows, [row, row + 1])
    best, run = (0, 0), (0, 0)
    for at in range(low, high):
        gram = hits.grams[at]
        if index.is_text[example] and rule.is_common[gram]:
            continue
        if example not in index.postings[index.first_posting[gram] : index.first_posting[gram + 1]]:
            continue
        start, end = int(hits.starts[at]), int(hits.ends[at])
        run = (run[0], max(end, run[1])) if run[1] > start else (start, end)
        best = max(best, run, key=lambda span: span[1] - span[0])
    return best


def _distinct(rows: Integers, grams: Integers) -> tuple[Integers, Integers]:
    pairs = np.unique(np.stack([rows, grams], axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _posted(
    index: GramIndex, grams: Integers, is_common: npt.NDArray[np.bool_]
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The examples of each gram in turn, and whether the gram counts for that example."""
    lengths = np.diff(index.first_posting)[grams]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    examples = index.postings[np.repeat(index.first_posting[grams], lengths) + within]
    counts: Any = ~(index.is_text[examples] & np.repeat(is_common[grams], lengths))
    return examples, counts
