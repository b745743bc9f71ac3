"""A shuffle through files: records written once, ordered by where they must go, and read from there.

Each writer leaves its records ordered by destination, and how many there are for each; a reader takes its slice of
every writer's. Memory is that of one writer's or one reader's records, whatever the size of the corpus, and records
arrive in the order of their writers and, within one, in the order in which they were written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.data.dedup.units import Integers
from millrace.data.text.kernels import kernel

Columns = tuple[npt.NDArray[Any], ...]


def write(folder: Path, writer: int, destinations: Integers, readers: int, columns: Columns) -> None:
    """Writes one writer's records.

    Args:
        folder: Where all writers of this exchange write.
        writer: Its number, from 0.
        destinations: Where each record goes, below ``readers``, int64 [records].
        readers: How many destinations there are.
        columns: The records, arrays [records].

    Raises:
        ValueError: A destination is beyond the readers.
    """
    if destinations.size and not 0 <= destinations.min() <= destinations.max() < readers:
        raise ValueError(f"got destination {destinations.max()}, expected 0 to {readers - 1}")
    order, counts = _order(destinations, readers)
    np.save(folder / f"{writer:05d}-counts.npy", counts)
    for place, column in enumerate(columns):
        column[order].tofile(folder / f"{writer:05d}-{place}")


def close(folder: Path, writers: int) -> Integers:
    """Makes what all writers left ready to be read.

    Returns:
        Records for each destination, int64 [readers].
    """
    counts = np.stack([np.load(folder / f"{writer:05d}-counts.npy") for writer in range(writers)])
    np.save(folder / "counts.npy", counts)
    return counts.sum(0, dtype=np.int64)


def read(folder: Path, first: int, end: int, dtypes: tuple[Any, ...]) -> tuple[Columns, Integers]:
    """The records of all writers for the destinations from ``first`` up to ``end``, exclusive.

    Args:
        folder: An exchange that is closed.
        first: The first destination.
        end: The last one, exclusive.
        dtypes: Types of the columns.

    Returns:
        The columns, one writer's records after the other's, and where each writer's records for each destination
        start and the last ones end, int64 [writers, destinations + 1].
    """
    counts = np.load(folder / "counts.npy", mmap_mode="r")
    wanted = counts[:, first:end].astype(np.int64)
    skipped = counts[:, :first].sum(1, dtype=np.int64)
    sizes = wanted.sum(1)
    runs = np.zeros((len(wanted), end - first + 1), np.int64)
    np.cumsum(wanted, axis=1, out=runs[:, 1:])
    runs += (np.cumsum(sizes) - sizes)[:, None]
    columns = []
    for place, dtype in enumerate(dtypes):
        column = np.empty(int(sizes.sum()), dtype)
        at = 0
        for writer in np.flatnonzero(sizes).tolist():
            size = int(sizes[writer])
            column[at : at + size] = np.fromfile(
                folder / f"{writer:05d}-{place}",
                dtype,
                count=size,
                offset=int(skipped[writer]) * column.itemsize,
            )
            at += size
        columns.append(column)
    return tuple(columns), runs


def partitions(records: Integers, most_records: int, least_partitions: int) -> list[tuple[int, int]]:
    """Ranges of destinations for readers to share.

    Args:
        records: Records for each destination, int64 [destinations].
        most_records: A range holds no more, unless it is a single destination.
        least_partitions: Ranges to aim at, so that small exchanges use all cores.

    Returns:
        First and last (exclusive) destination of each range; together they hold every record.
    """
    limit = min(most_records, int(records.sum()) // least_partitions + 1)
    ranges: list[tuple[int, int]] = []
    first, held = 0, 0
    for destination, count in enumerate(records.tolist()):
        if held and count and held + count > limit:
            ranges.append((first, destination))
            first, held = destination, 0
        held += count
    return [*ranges, (first, len(records))]


@kernel
def _order(destinations: Any, readers: int) -> Any:
    counts = np.zeros(readers, np.uint32)
    for destination in destinations:
        counts[destination] += np.uint32(1)
    at = np.zeros(readers, np.int64)
    for reader in range(1, readers):
        at[reader] = at[reader - 1] + counts[reader - 1]
    order = np.empty(destinations.size, np.int64)
    for record in range(destinations.size):
        order[at[destinations[record]]] = record
        at[destinations[record]] += 1
    return order, counts
