"""The passes of ``dedup_spans`` on one shard or one partition; ``stage`` puts them together.

They leave their results in the stage's work folder, as flat files that the next pass reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.dedup import anchors as words
from millrace.data.dedup import repeats, units
from millrace.data.documents import catalogue, shuffle
from millrace.data.documents.shards import read_shard
from millrace.data.text.batch import from_arrow

from .config import AnyMethod, DedupSpansConfig

Task = tuple[int, str]
"""A shard: its number and where it is."""
Part = tuple[int, int, int, int]
"""Some partitions of a method's shuffle: the method's number, the part's, first and last (exclusive) bucket."""

PART_RECORDS = 1 << 21  # some 100 MB with their table
LEAST_PARTS = 8
TOP_WINDOWS = 400  # of each part, for the report


def read(config: DedupSpansConfig, work: str, task: Task) -> list[str]:
    """Writes the windows of a shard's documents, or their anchors; returns the sources that it has."""
    index, path = task
    folder = Path(work)
    table = read_shard(path, ["doc_id", "text", "source", "uri"])
    batch = from_arrow(table["text"])
    catalogue.write_names(folder / f"names-{index:05d}", table["doc_id"], table["uri"])
    for number, method in enumerate(config.methods):
        rows = _rows_of(method, table["source"])
        begins, ends = batch.offsets[:-1][rows], batch.offsets[1:][rows]
        if method.method == "substrings":
            found = words.anchors(words.words(batch.data, begins, ends), method.span_units)
            places = np.arange(found.hashes.size, dtype=np.uint32)
            buckets = repeats.bucket(found.hashes)
            columns = (found.hashes, places)
            shuffle.write(folder / f"anchors-{number}", index, buckets, repeats.BUCKETS, columns)
            catalogue.write_offsets(
                folder / f"anchors-{number}-{index:05d}", _spread(found.offsets, rows, len(batch))
            )
        else:
            pieces = units.units(batch.data, begins, ends, method.method)
            windows = units.windows(pieces, method.span_units, method.min_words, method.min_characters)
            _write_windows(folder, number, index, windows, _spread(pieces.offsets, rows, len(batch)))
    return sorted(set(table["source"].unique().to_pylist()))


def _rows_of(method: AnyMethod, sources: Any) -> np.ndarray:
    """The documents that a method looks at, int64."""
    if method.sources is None:
        return np.arange(len(sources))
    return np.flatnonzero(pc.is_in(sources, pa.array(method.sources, sources.type)).to_numpy())


def _spread(offsets: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The offsets of some rows as those of all, the others with nothing; int64 [count + 1]."""
    lengths = np.zeros(count + 1, np.int64)
    lengths[rows + 1] = np.diff(offsets)
    return np.cumsum(lengths)


def _write_windows(folder: Path, number: int, index: int, windows: Any, offsets: np.ndarray) -> None:
    columns = (windows.hashes, windows.places.astype(np.uint32))
    buckets = repeats.bucket(windows.hashes)
    shuffle.write(folder / f"windows-{number}", index, buckets, repeats.BUCKETS, columns)
    catalogue.write_offsets(folder / f"units-{number}-{index:05d}", offsets)


def parts_of(number: int, folder: Path, shards: int) -> list[Part]:
    """Closes a method's exchange and divides what it holds."""
    ranges = shuffle.partitions(shuffle.close(folder, shards), PART_RECORDS, LEAST_PARTS)
    return [(number, part, first, end) for part, (first, end) in enumerate(ranges)]


def match_anchors(config: DedupSpansConfig, work: str, shards: int, part: Part) -> None:
    """Tells each shard which of its anchors occur too often."""
    number, index, first, end = part
    folder = Path(work)
    dtypes = (np.uint64, np.uint32)
    (hashes, places), runs = shuffle.read(folder / f"anchors-{number}", first, end, dtypes)
    found = repeats.is_frequent(hashes, runs, config.methods[number].max_occurrences)
    owners = np.repeat(np.arange(shards), runs[:, -1] - runs[:, 0])
    shuffle.write(folder / f"shared-{number}", index, owners[found], shards, (places[found],))


def read_shared(config: DedupSpansConfig, work: str, task: Task) -> None:
    """Writes a shard's windows that have an anchor which occurs too often."""
    index, path = task
    folder = Path(work)
    batch = None
    for number, method in enumerate(config.methods):
        if method.method != "substrings":
            continue
        (places,), _ = shuffle.read(folder / f"shared-{number}", index, index + 1, (np.uint32,))
        anchors = np.array(catalogue.offsets(folder / f"anchors-{number}-{index:05d}"))
        is_shared = np.zeros(anchors[-1], np.bool_)
        is_shared[places] = True
        before = np.concatenate([[0], np.cumsum(is_shared)])
        rows = np.flatnonzero(before[anchors[1:]] > before[anchors[:-1]])
        if batch is None:
            batch = from_arrow(read_shard(path, ["text"])["text"])
        found = words.words(batch.data, batch.offsets[:-1][rows], batch.offsets[1:][rows])
        windows = words.windows(found, method.span_units, is_shared, anchors[:-1][rows])
        _write_windows(folder, number, index, windows, _spread(found.offsets, rows, len(batch)))


def join(config: DedupSpansConfig, work: Path, shards: int) -> None:
    """Numbers documents and units through the corpus."""
    names = [work / f"names-{index:05d}" for index in range(shards)]
    np.save(work / "documents.npy", catalogue.join_names(names, work / "names"))
    for number in range(len(config.methods)):
        parts = [work / f"units-{number}-{index:05d}" for index in range(shards)]
        np.save(work / f"units-{number}.npy", catalogue.join_offsets(parts, work / f"units-{number}"))


def find(config: DedupSpansConfig, work: str, part: Part) -> list[list[int]]:
    """Tells each shard which of its windows go; returns the most frequent as [occurrences, first place]."""
    number, index, first, end = part
    folder, method = Path(work), config.methods[number]
    (hashes, places), runs = shuffle.read(folder / f"windows-{number}", first, end, (np.uint64, np.uint32))
    bases = np.load(folder / f"units-{number}.npy")[:-1]
    owners = np.repeat(np.arange(bases.size), runs[:, -1] - runs[:, 0])
    later, groups = repeats.later(
        hashes, bases[owners] + places, runs, method.span_units, method.max_occurrences
    )
    columns = (places[later.records], later.skipped, later.firsts)
    shuffle.write(folder / f"later-{number}", index, owners[later.records], bases.size, columns)
    top = np.lexsort((groups.firsts, -groups.occurrences))[:TOP_WINDOWS]
    rows: list[list[int]] = np.stack([groups.occurrences[top], groups.firsts[top]], axis=1).tolist()
    return rows
