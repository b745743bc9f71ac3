"""Finds the candidate pairs of documents: those that share a band key.

A bucket of n documents has n (n - 1) / 2 pairs; licence headers and templates make buckets of thousands. Two documents
are in one cluster as soon as a chain of similar pairs joins them, so not all pairs need to be looked at: every document
meets the first of its bucket, and only where that leaves a bucket in pieces, its ``NEIGHBOURS`` too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
# How many of those that follow it in a bucket a document also meets: all pairs of buckets of up to nine documents.
NEIGHBOURS = 8


class Meetings(NamedTuple):
    """Pairs of documents that share a band key, the lower first, as one number: ``first << 32 | second``.

    Attributes:
        firsts: Each document with the first of its bucket, uint64 [pairs], sorted, each once.
        neighbours: Each document with those that follow it, without the pairs of ``firsts``, likewise.
    """

    firsts: npt.NDArray[np.uint64]
    neighbours: npt.NDArray[np.uint64]


def meetings(keys: npt.NDArray[np.uint64], documents: Integers, earlier: int = 0) -> Meetings:
    """Finds who shares a band key.

    Args:
        keys: Band keys, uint64 [entries].
        documents: The document of each entry, below 2**32, numbered in an order that does not depend on shards.
        earlier: Documents below this number belong to an earlier corpus: they do not meet each other.
    """
    order = np.argsort(keys)
    ordered = keys[order]
    is_same = ordered[1:] == ordered[:-1]
    is_shared = np.zeros(keys.size, np.bool_)
    is_shared[1:] = is_same
    is_shared[:-1] |= is_same
    order = order[is_shared]  # nearly all keys are alone: only the few others are put in order of documents
    keys, documents = keys[order], documents[order]
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if keys.size else order
    bucket = np.repeat(np.arange(starts.size), np.diff(starts, append=keys.size))
    firsts = _pairs(documents[starts][bucket], documents, earlier)
    near = [
        _pairs(documents[together], documents[together + distance], earlier)
        for distance in range(1, NEIGHBOURS + 1)
        for together in [np.flatnonzero(bucket[distance:] == bucket[:-distance])]
    ]
    return Meetings(firsts, np.setdiff1d(np.unique(np.concatenate(near)), firsts, assume_unique=True))


def _pairs(one: Integers, two: Integers, earlier: int) -> npt.NDArray[np.uint64]:
    wanted = (one != two) & (two >= earlier)
    return np.unique((one[wanted].astype(np.uint64) << np.uint64(32)) | two[wanted].astype(np.uint64))


def split(pairs: npt.NDArray[np.uint64]) -> Integers:
    """The two documents of each pair, int64 [pairs, 2]."""
    return np.stack([pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
