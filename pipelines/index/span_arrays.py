"""The place of each document of a ``tokens`` artifact in its stream: arrays by row, beside the keys of the ids.

The artifact has the same in Parquet, in row groups of 65,536 documents that take 6 ms each; the batch of a training step
touches nearly as many row groups as it has rows. These arrays are mapped, and a question reads the few pages that it needs.

    <store>/index/<digest>/spans.ids        uint8 [N, 16], the document's id
                           spans.starts     int64 [N], its first token, rising within a source
                           spans.lengths    int64 [N], its tokens, the boundary counted
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

NAMES = ("ids", "starts", "lengths")


class Place(NamedTuple):
    """A document's tokens ``[start, start + length)`` in its source's stream."""

    doc_id: str
    source: str
    start: int
    length: int


class Spans:
    """The arrays of one artifact, open for questions."""

    def __init__(self, folder: Path, first_rows: Mapping[str, int]) -> None:
        """Maps the arrays.

        Args:
            folder: Where they are.
            first_rows: Source -> its first row, in the order of the rows.
        """
        import numpy as np

        paths = [folder / f"spans.{name}" for name in NAMES]
        self._ids = mapped(paths[0], np.uint8).reshape(-1, 16)
        self._starts, self._lengths = (mapped(path, np.int64) for path in paths[1:])
        ends = [*list(first_rows.values())[1:], self._starts.size]
        self._rows = dict(zip(first_rows, zip(first_rows.values(), ends, strict=True), strict=True))

    def of_row(self, row: int) -> Place:
        """The document of a row."""
        source = next(source for source, (_, end) in self._rows.items() if row < end)
        return self._place(source, row)

    def inside(self, source: str, start: int, end: int) -> list[Place]:
        """The documents of a source that have tokens in ``[start, end)``, in order."""
        first, last = self._rows[source]
        starts = self._starts[first:last]
        low = max(int(starts.searchsorted(start, side="right")) - 1, 0)
        high = int(starts.searchsorted(end, side="left"))
        places = (self._place(source, first + row) for row in range(low, high))
        return [place for place in places if place.start + place.length > start]

    def _place(self, source: str, row: int) -> Place:
        return Place(self._ids[row].tobytes().hex(), source, int(self._starts[row]), int(self._lengths[row]))


class SpanWriter:
    """Appends the arrays of one row group after the other."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / f"spans.{name}" for name in NAMES]
        for path in self._paths:
            path.touch()

    def add(self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Appends ids, uint8 [N, 16], starts and lengths, int64 [N]."""
        for path, values in zip(self._paths, (ids, starts, lengths), strict=True):
            with path.open("ab") as file:
                file.write(values.tobytes())

    def close(self) -> None:
        """Flushes the files to the disk: a later reader takes whatever is there for the whole."""
        for path in self._paths:
            with path.open("ab") as file:
                os.fsync(file.fileno())


def mapped(path: Path, dtype: Any) -> Any:
    """An array on disk; an empty file cannot be mapped."""
    import numpy as np

    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r").view(np.ndarray)
