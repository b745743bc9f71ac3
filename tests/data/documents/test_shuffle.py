"""The shuffle gives every record to its destination, in the order of writers and of writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents import shuffle

READERS = 5
WRITERS = st.lists(st.lists(st.integers(0, READERS - 1), max_size=12), min_size=1, max_size=4)


@given(WRITERS, st.integers(0, READERS), st.integers(0, READERS))
def test_readers_get_what_was_written_for_them(
    tmp_path_factory: pytest.TempPathFactory, writers: list[list[int]], one: int, other: int
) -> None:
    """Of all columns; the runs tell where each writer's records for each destination stand."""
    folder, first, end = tmp_path_factory.mktemp("shuffle"), min(one, other), max(one, other)
    for writer, destinations in enumerate(writers):
        numbers = np.arange(len(destinations), dtype=np.int64) + 100 * writer
        columns = (numbers, numbers.astype(np.uint16) * np.uint16(2))
        shuffle.write(folder, writer, np.array(destinations, np.int64), READERS, columns)
    counts = shuffle.close(folder, len(writers))
    flat = [destination for destinations in writers for destination in destinations]
    assert counts.tolist() == [flat.count(destination) for destination in range(READERS)]
    (numbers, doubled), runs = shuffle.read(folder, first, end, (np.int64, np.uint16))
    assert doubled.tolist() == (2 * numbers).tolist()
    for writer, destinations in enumerate(writers):
        for place, destination in enumerate(range(first, end)):
            own = [100 * writer + at for at, wanted in enumerate(destinations) if wanted == destination]
            assert numbers[runs[writer, place] : runs[writer, place + 1]].tolist() == own
    assert numbers.size == int(counts[first:end].sum())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 20), st.integers(1, 4))
def test_partitions_hold_all_and_not_too_much(counts: list[int], most: int, least: int) -> None:
    """A partition beyond the limit is a single destination that has records."""
    ranges = shuffle.partitions(np.array(counts, np.int64), most, least)
    assert [place for first, end in ranges for place in range(first, end)] == list(range(len(counts)))
    for first, end in ranges:
        held = counts[first:end]
        assert sum(held) <= min(most, sum(counts) // least + 1) or sum(map(bool, held)) == 1


def test_a_destination_beyond_the_readers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got destination 5, expected 0 to 4"):
        shuffle.write(tmp_path, 0, np.array([1, 5]), READERS, (np.zeros(2),))
