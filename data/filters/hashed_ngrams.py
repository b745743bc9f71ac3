"""Texts as bags of hashed word n-grams, for linear classifiers.

Words and pairs of words hash into a fixed number of buckets, so there is no vocabulary to build, to store or to agree
on between machines (the hashing trick). A text is its first ``max_words`` words: they are enough for a classifier, and
a whole novel costs no more than a page.

References:
    Weinberger et al. 2009, "Feature hashing for large scale multitask learning" (arXiv 0902.2206); Joulin et al. 2016,
    "Bag of tricks for efficient text classification" (arXiv 1607.01759): word bigrams suffice for a linear model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.hashing import GOLDEN, MIX_FIRST, MIX_SECOND
from millrace.data.text.kernels import kernel

from . import ngrams


class Features(NamedTuple):
    """The buckets of every text of a batch, one text after the other; a bucket met twice is there twice.

    Attributes:
        buckets: int32 [features].
        offsets: First feature of each text and the end of the last, int64 [documents + 1].
    """

    buckets: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]


def features(batch: TextBatch, *, bits: int, max_words: int) -> Features:
    """The hashed words and pairs of words of each text.

    Args:
        batch: The texts.
        bits: There are ``2**bits`` buckets, at most 31.
        max_words: Words of each text that count.
    """
    words = ngrams.words(batch)
    return Features(*_features(words.hashes, words.offsets, 64 - bits, max_words))


@kernel
def _features(hashes: Any, offsets: Any, shift: int, max_words: int) -> Any:
    ends = np.zeros(offsets.size, np.int64)
    for row in range(offsets.size - 1):
        words = min(offsets[row + 1] - offsets[row], max_words)
        ends[row + 1] = ends[row] + max(2 * words - 1, 0)
    out = np.empty(ends[-1], np.int32)
    for row in range(offsets.size - 1):
        at, first = ends[row], offsets[row]
        last = np.uint64(0)
        for word in range(first, first + min(offsets[row + 1] - first, max_words)):
            value = hashes[word]
            out[at] = np.int32(value >> np.uint64(shift))
            at += 1
            if word > first:
                pair = (last * GOLDEN + value) * MIX_FIRST
                out[at] = np.int32((pair ^ (pair >> np.uint64(32))) * MIX_SECOND >> np.uint64(shift))
                at += 1
            last = value
    return out, ends


def scores(found: Features, weights: npt.NDArray[np.float32], bias: float) -> npt.NDArray[np.float64]:
    """A linear model's score of each text: the sum of its features' weights over the root of their number, plus bias.

    Dividing by the root makes the features of a text a vector of about unit length whatever its size.

    Args:
        found: The texts' features.
        weights: float32 [buckets].
        bias: Score of a text without words.

    Returns:
        float64 [documents].
    """
    return _scores(found.buckets, found.offsets, weights) + bias


@kernel
def _scores(buckets: Any, offsets: Any, weights: Any) -> Any:
    out = np.zeros(offsets.size - 1)
    for row in range(offsets.size - 1):
        total = 0.0
        for at in range(offsets[row], offsets[row + 1]):
            total += weights[buckets[at]]
        out[row] = total / np.sqrt(max(offsets[row + 1] - offsets[row], 1))
    return out
