"""Finds windows that repeat an earlier one: hash tables over the partitions of a shuffle.

Windows go to one of 4,096 buckets by hash, so that a table of one bucket is small: at a GB of text it fits the cache of
one core. Within a bucket windows are looked at in the order of the corpus; the first
stays, whatever the number of shards, partitions and threads.

Windows are the same when their 64-bit hashes are. Among the 15 billion lines of a TB of text, six pairs of different
lines are expected to share one.

References:
    Lee et al. 2021 (arXiv 2107.06499), 4.1: repeated text is cut; here the first occurrence stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.kernels import kernel

from .units import Integers

BUCKETS = 4096
_BUCKET_BITS = 12


class Later(NamedTuple):
    """Windows that repeat earlier ones.

    Attributes:
        records: Their places among the records looked at, int64 [repeats].
        skipped: First units of the window that stay, because the occurrence that stays reaches into it, uint32.
        firsts: Place in the corpus of the first occurrence, int64.
    """

    records: Integers
    skipped: npt.NDArray[np.uint32]
    firsts: Integers


class Groups(NamedTuple):
    """Windows that occur too often, by what they say.

    Attributes:
        firsts: Place in the corpus of the first occurrence, int64 [groups].
        occurrences: How often, int64 [groups].
    """

    firsts: Integers
    occurrences: Integers


def bucket(hashes: npt.NDArray[np.uint64]) -> Integers:
    """The bucket of each window, int64; anchors are small hashes, so the low bits decide."""
    return (hashes & np.uint64(BUCKETS - 1)).astype(np.int64)


def is_frequent(
    hashes: npt.NDArray[np.uint64], runs: Integers, max_occurrences: int
) -> npt.NDArray[np.bool_]:
    """Whether the hash of each record occurs more than ``max_occurrences`` times.

    Args:
        hashes: The records of some buckets, one writer after the other, uint64 [records].
        runs: Where each writer's records of each bucket start and end, int64 [writers, buckets + 1].
        max_occurrences: How often is not too often.
    """
    found: npt.NDArray[np.bool_] = _is_frequent(hashes, runs, max_occurrences, _BUCKET_BITS)
    return found


def later(
    hashes: npt.NDArray[np.uint64], places: Integers, runs: Integers, size: int, max_occurrences: int
) -> tuple[Later, Groups]:
    """The windows beyond the first ``max_occurrences`` equal ones, in the order of the corpus.

    Args:
        hashes: The windows of some buckets, one writer after the other, uint64 [records].
        places: The first unit of each, numbered through the corpus, int64 [records].
        runs: Where each writer's records of each bucket start and end, int64 [writers, buckets + 1].
        size: Units per window.
        max_occurrences: How many stay.

    Returns:
        The spans to cut, and for the report the windows that occur too often.
    """
    records, skipped, firsts, group_firsts, occurrences = _later(
        hashes, places, runs, size, max_occurrences, _BUCKET_BITS
    )
    return Later(records, skipped, firsts), Groups(group_firsts, occurrences)


@kernel
def _slots(runs: Any) -> int:
    """Slots of a table at most half full with the records of any one bucket."""
    most = np.int64(0)
    for bucket in range(runs.shape[1] - 1):
        total = np.int64(0)
        for writer in range(runs.shape[0]):
            total += runs[writer, bucket + 1] - runs[writer, bucket]
        most = max(most, total)
    slots = 16
    while slots < 2 * most:
        slots *= 2
    return slots


@kernel
def _slot(keys: Any, counts: Any, value: Any, shift: Any) -> Any:
    mask = np.uint64(keys.size - 1)
    slot = (value >> shift) & mask
    while counts[slot] and keys[slot] != value:
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel
def _is_frequent(hashes: Any, runs: Any, max_occurrences: int, bits: int) -> Any:
    out = np.zeros(hashes.size, np.bool_)
    slots = _slots(runs)
    keys, counts = np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    shift = np.uint64(bits)
    for bucket in range(runs.shape[1] - 1):
        for writer in range(runs.shape[0]):
            for record in range(runs[writer, bucket], runs[writer, bucket + 1]):
                slot = _slot(keys, counts, hashes[record], shift)
                keys[slot] = hashes[record]
                counts[slot] += 1
        for writer in range(runs.shape[0]):
            for record in range(runs[writer, bucket], runs[writer, bucket + 1]):
                slot = _slot(keys, counts, hashes[record], shift)
                out[record] = counts[slot] > max_occurrences
        counts[:] = 0
    return out


@kernel
def _later(hashes: Any, places: Any, runs: Any, size: int, max_occurrences: int, bits: int) -> Any:
    slots = _slots(runs)
    keys, counts = np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    firsts, kept = np.empty(slots, np.int64), np.empty(slots, np.int64)
    used = np.empty(slots, np.uint64)
    records = np.empty(hashes.size, np.int64)
    skipped = np.empty(hashes.size, np.uint32)
    record_firsts = np.empty(hashes.size, np.int64)
    group_firsts = np.empty(hashes.size // 2 + 1, np.int64)
    occurrences = np.empty(hashes.size // 2 + 1, np.int64)
    count, groups = 0, 0
    shift = np.uint64(bits)
    for bucket in range(runs.shape[1] - 1):
        taken = 0
        for writer in range(runs.shape[0]):
            for record in range(runs[writer, bucket], runs[writer, bucket + 1]):
                slot = _slot(keys, counts, hashes[record], shift)
                if counts[slot] == 0:
                    keys[slot] = hashes[record]
                    firsts[slot] = places[record]
                    used[taken] = slot
                    taken += 1
                counts[slot] += 1
                if counts[slot] <= max_occurrences:
                    kept[slot] = places[record]
                    continue
                records[count] = record
                # Windows of different texts never overlap, so only the numbers need comparing.
                skipped[count] = np.uint32(max(kept[slot] + size - places[record], 0))
                record_firsts[count] = firsts[slot]
                count += 1
        for at in range(taken):
            if counts[used[at]] > max_occurrences:
                group_firsts[groups] = firsts[used[at]]
                occurrences[groups] = counts[used[at]]
                groups += 1
            counts[used[at]] = 0
    return (
        records[:count],
        skipped[:count],
        record_firsts[:count],
        group_firsts[:groups],
        occurrences[:groups],
    )
