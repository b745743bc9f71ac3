"""Repeats over shuffled partitions against dictionaries, and the shuffle itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import repeats
from millrace.data.documents import shuffle

MANY = np.uint64(7919 * 2**20)  # spreads few different hashes over slots, two in each of 4,096 buckets
HASHES = st.lists(st.lists(st.integers(0, 6), max_size=30), min_size=1, max_size=4)


def shuffled(folder: Path, writers: list[list[int]]) -> list[tuple]:
    """The content of each partition of at most 8 records: hashes, numbers in the corpus, runs."""
    folder.mkdir()
    number = 0
    for writer, values in enumerate(writers):
        hashes = np.array(values, np.uint64) * MANY + np.array(values, np.uint64) % np.uint64(3)
        places = np.arange(number, number + len(values), dtype=np.int64)
        number += len(values)
        shuffle.write(folder, writer, repeats.bucket(hashes), repeats.BUCKETS, (hashes, places))
    ranges = shuffle.partitions(shuffle.close(folder, len(writers)), 8, 2)
    assert [first for first, _ in ranges] == [0, *(end for _, end in ranges[:-1])]
    assert ranges[-1][1] == repeats.BUCKETS
    return [shuffle.read(folder, *part, (np.uint64, np.int64)) for part in ranges]


@given(HASHES, st.integers(1, 3))
def test_windows_beyond_the_first_equal_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, writers: list[list[int]], most: int
) -> None:
    """All but the first occurrences are found in any partition, with the first and what it reaches into."""
    found: dict[int, tuple[int, int]] = {}
    groups: list[tuple[int, int]] = []
    for (hashes, places), runs in shuffled(tmp_path_factory.mktemp("x") / "x", writers):
        later, top = repeats.later(hashes, places, runs, 4, most)
        for record, skipped, first in zip(*later, strict=True):
            found[int(places[record])] = (int(first), int(skipped))
        groups += zip(top.firsts.tolist(), top.occurrences.tolist(), strict=True)
    expected: dict[int, tuple[int, int]] = {}
    seen: dict[int, list[int]] = {}
    flat = [value for values in writers for value in values]
    for place, value in enumerate(flat):
        own = seen.setdefault(value, [])
        if len(own) >= most:
            expected[place] = (own[0], max(own[most - 1] + 4 - place, 0))
        own.append(place)
    assert found == expected
    assert sorted(groups) == sorted((own[0], len(own)) for own in seen.values() if len(own) > most)


@given(HASHES, st.integers(1, 3))
def test_frequent_records_equal_a_count(
    tmp_path_factory: pytest.TempPathFactory, writers: list[list[int]], most: int
) -> None:
    """A record is frequent when its hash occurs too often in the whole corpus."""
    frequent = set()
    for (hashes, places), runs in shuffled(tmp_path_factory.mktemp("x") / "x", writers):
        frequent |= set(places[repeats.is_frequent(hashes, runs, most)].tolist())
    flat = [value for values in writers for value in values]
    assert frequent == {place for place, value in enumerate(flat) if Counter(flat)[value] > most}
