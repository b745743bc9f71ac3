"""The documents of a shard that contain a phrase: the shard's texts are searched as bytes.

Python's search of bytes goes through 7 GB a second for a rare phrase and 1.3 for one in most documents, Arrow's
``match_substring`` through half of one, and Arrow's functions take a process 50 ms to import before the first is called.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

SPACES = rb"[\t\n\f\r ]+"
Find = Callable[[bytes, int], tuple[int, int] | None]


@dataclass(frozen=True)
class Matches:
    """The documents of a shard that contain a phrase.

    Attributes:
        count: How many there are.
        first: Id and text of the first of them.
    """

    count: int
    first: list[tuple[str, str]]


def exactly(phrase: str) -> Find:
    """Finds the first place of a phrase from a byte on, white space as given."""
    wanted = phrase.encode()

    def find(data: bytes, at: int) -> tuple[int, int] | None:
        start = data.find(wanted, at)
        return None if start < 0 else (start, start + len(wanted))

    return find


def loosely(words: Sequence[str]) -> Find:
    """Finds the first place of words from a byte on, with any white space between them."""
    pattern = re.compile(SPACES.join(re.escape(word.encode()) for word in words))

    def find(data: bytes, at: int) -> tuple[int, int] | None:
        match = pattern.search(data, at)
        return match.span() if match else None

    return find


def scan(shard: BinaryIO, ways: Sequence[Find], limit: int) -> list[Matches]:
    """Searches a shard in several ways; once one finds anything, the ones after it are skipped and find nothing.

    Args:
        shard: A Parquet file of documents.
        ways: How to look for the phrase, the preferred one first.
        limit: Id and text of how many documents to return.

    Returns:
        What each way found.
    """
    import pyarrow.parquet as pq

    # Not `read_table`, which imports Arrow's datasets and reads ahead in threads that may outlive the file.
    parquet = pq.ParquetFile(shard)
    chunks = [_bytes_of(chunk) for chunk in parquet.read(["text"], use_threads=False)["text"].chunks]
    found: list[Matches] = []
    for find in ways:
        count, before = 0, 0
        first_rows: list[int] = []
        texts: list[str] = []
        for data, starts in chunks if not any(matches.count for matches in found) else ():
            rows = list(_rows(find, data, starts))
            count += len(rows)
            for row in rows[: limit - len(texts)]:
                first_rows.append(before + row)
                texts.append(data[starts[row] : starts[row + 1]].decode())
            before += len(starts) - 1
        found.append(Matches(count, list(zip(_ids(parquet, first_rows), texts, strict=True))))
    return found


def _rows(find: Find, data: bytes, starts: Sequence[int]) -> Iterator[int]:
    """The documents that contain a phrase; a match that begins in one and ends in another does not count."""
    at = starts[0]
    while (place := find(data, at)) is not None and place[0] < starts[-1]:
        row = bisect_right(starts, place[0]) - 1
        is_inside = place[1] <= starts[row + 1]
        if is_inside:
            yield row
        at = starts[row + 1] if is_inside else place[0] + 1


def _ids(parquet: Any, rows: Sequence[int]) -> list[str]:
    if not rows:
        return []
    column = parquet.read(["doc_id"], use_threads=False)["doc_id"]
    return [column[row].as_py() for row in rows]


def _bytes_of(texts: Any) -> tuple[bytes, list[int]]:
    """The bytes of a pyarrow string array [N], and where each text begins in them and the last one ends, [N + 1]."""
    import numpy as np
    import pyarrow as pa

    if not len(texts):
        return b"", [0]
    _, offsets, data = texts.buffers()
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    starts = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    return (data.to_pybytes() if data else b""), starts.tolist()
