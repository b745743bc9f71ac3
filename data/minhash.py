"""MinHash signatures of texts, the bands that make similar texts meet, and the true similarity of those that met.

A text is the set of its word 5-grams (shingles). Each of ``bands * rows`` hash functions keeps its least value over the
set; two texts agree on one with probability equal to the Jaccard similarity s of their sets. Texts meet when all
``rows`` values of some band agree, with probability 1 - (1 - s**rows)**bands: with 14 x 8 that is 0.92 at s = 0.8, 0.36
at 0.65 and 0.05 at 0.5. Those that meet are compared by their true similarity, so a false meeting costs time only.

The functions are 32-bit multiply-xorshift mixes, written so that LLVM runs eight at a time: 112 functions over the 20
million shingles of the reference corpus take under 2 s on two cores.

References:
    Broder 1997, "On the resemblance and containment of documents": shingles, MinHash; Leskovec, Rajaraman & Ullman,
    "Mining of massive datasets", 3.4: bands; Lee et al. 2021, "Deduplicating training data makes language models
    better" (arXiv 2107.06499), 4.2 and appendix A: 5-grams, then verification, then connected components; Penedo et
    al. 2024, "FineWeb" (arXiv 2406.17557): 14 bands of 8 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .kernels import kernel
from .ngrams import GramBatch
from .permutation import GOLDEN, mix

# Beside the first text of its bucket, each text meets this many that follow it there, so a bucket of n texts costs
# at most 9 n comparisons and not n squared; clusters are connected through the shared first text.
NEIGHBOURS = 8


def signatures(shingles: GramBatch, functions: int) -> npt.NDArray[np.uint32]:
    """The MinHash signature of each text.

    Args:
        shingles: The texts' shingles.
        functions: Hash functions: bands times rows.

    Returns:
        uint32 [documents, functions]; all 2**32 - 1 for a text without shingles, which must not be banded: it would
        meet all others like it.
    """
    stream = (mix(np.arange(1, 2 * functions + 1, dtype=np.uint64) * GOLDEN) >> np.uint64(32)).astype(
        np.uint32
    )
    seeds, multipliers = stream.reshape(2, functions)
    made: npt.NDArray[np.uint32] = _signatures(
        shingles.hashes, shingles.offsets, seeds, multipliers | np.uint32(1)
    )
    return made


def band_keys(signature: npt.NDArray[np.uint32], bands: int) -> npt.NDArray[np.uint64]:
    """One 64-bit key per band: texts that share a key agree on all rows of that band.

    Args:
        signature: uint32 [documents, bands * rows].
        bands: How many bands.

    Returns:
        uint64 [documents, bands]; keys of different bands differ.
    """
    rows = signature.reshape(len(signature), bands, signature.shape[1] // bands).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64) * GOLDEN, rows.shape[:2])
    for row in range(rows.shape[2]):
        keys = mix(keys + rows[:, :, row])
    return keys


def estimate(first: npt.NDArray[np.uint32], second: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Similarity as the share of equal signature values, float64 [pairs]; both are uint32 [pairs, functions]."""
    return np.mean(first == second, axis=1)


def meetings(keys: npt.NDArray[np.uint64], ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pairs of documents that share a band key.

    Args:
        keys: Band keys, uint64 [entries].
        ranks: The document of each entry, as its place in an order that does not depend on shards.

    Returns:
        int64 [pairs, 2], each pair once, the smaller rank first, sorted. All pairs of buckets of up to nine
        documents; in larger ones every document with the first and with the ``NEIGHBOURS`` that follow it.
    """
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    bucket = (
        np.cumsum(np.concatenate([[True], keys[1:] != keys[:-1]])) - 1 if keys.size else np.zeros(0, np.int64)
    )
    first = np.searchsorted(bucket, bucket)
    pairs = [np.stack([ranks[first], ranks], axis=1)]
    for distance in range(1, NEIGHBOURS + 1):
        together = np.flatnonzero(bucket[distance:] == bucket[:-distance])
        pairs.append(np.stack([ranks[together], ranks[together + distance]], axis=1))
    found = np.concatenate(pairs)
    return np.unique(found[found[:, 0] != found[:, 1]], axis=0)


def jaccard(
    shingles: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64], pairs: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The true similarity of pairs of sets: intersection over union, 0 for two empty sets.

    Args:
        shingles: Sorted distinct values of all sets, one set after the other.
        offsets: int64 [sets + 1].
        pairs: Which sets to compare, int64 [pairs, 2].
    """
    similarities: npt.NDArray[np.float64] = _jaccard(shingles, offsets, pairs)
    return similarities


@kernel
def _signatures(hashes: Any, offsets: Any, seeds: Any, multipliers: Any) -> Any:
    out = np.full((offsets.size - 1, seeds.size), np.uint32(0xFFFFFFFF), np.uint32)
    for row in range(offsets.size - 1):
        least = out[row]
        for at in range(offsets[row], offsets[row + 1]):
            shingle = np.uint32(hashes[at] >> np.uint64(32))
            for function in range(seeds.size):
                mixed = np.uint32((shingle ^ seeds[function]) * multipliers[function])
                mixed = np.uint32((mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D))
                mixed ^= mixed >> np.uint32(13)
                least[function] = min(least[function], mixed)
    return out


@kernel
def _jaccard(shingles: Any, offsets: Any, pairs: Any) -> Any:
    out = np.zeros(pairs.shape[0], np.float64)
    for pair in range(pairs.shape[0]):
        one, one_end = offsets[pairs[pair, 0]], offsets[pairs[pair, 0] + 1]
        two, two_end = offsets[pairs[pair, 1]], offsets[pairs[pair, 1] + 1]
        union = (one_end - one) + (two_end - two)
        shared = 0
        while one < one_end and two < two_end:
            left, right = shingles[one], shingles[two]
            if left == right:
                shared += 1
            if left <= right:
                one += 1
            if right <= left:
                two += 1
        if union:
            out[pair] = shared / (union - shared)
    return out
