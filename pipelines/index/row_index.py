"""The places of a document's rows: for each artifact the sorted keys of its rows, each with the row's number.

A question about one document among millions needs a few rows of a few artifacts. Those rows stay in
Parquet; arrays beside them say which rows to read. Artifacts never change, so neither do the arrays:
one folder per artifact, made once, removed when the artifact is gone. SQLite tables of the rows themselves, which this
replaces, took 600 bytes a document and random writes to a tree larger than memory.

    <store>/index/<digest>/manifest.json with notes {"version", "rows", "files"}
                           groups.npy    int64 [G, 3]: file, row group in it, first row
                           <name>.keys   uint64, sorted within each run of 2**24
                           <name>.rows   uint32, the row of each key
                           spans.<name>  of ``tokens``, see ``span_arrays``

Three kinds of keys: ``ids`` are the first 64 of an id's 128 bits; ``addresses`` are of a uri's last part (upper half)
and last two (lower half), once for consecutive rows of the same uri; ``targets`` are what a decision's evidence points
at. A key may be shared by rows that do not belong together, so whoever looks one up compares what the row says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.pipelines.store.store import Store

from . import evidence, folders
from .span_arrays import Spans, SpanWriter, mapped

if TYPE_CHECKING:
    import numpy as np

VERSIONS = {"documents": 2, "decisions": 2, "tokens": 3}
RUN_KEYS = 2**24  # sorted at once: 400 MB of memory at most, however large the artifact
UNREAD = ("malformed", "empty")
COLUMNS = {
    "documents": ["doc_id", "uri"],
    "decisions": ["doc_id", "action", "rule", "bytes_after", "evidence"],
    "tokens": ["doc_id", "start", "length"],
}


class RowIndex:
    """One artifact's keys and rows, open for questions.

    Attributes:
        files: Its Parquet files in the order of the rows.
        rows: How many rows they have.
    """

    def __init__(self, store: Store, digest: str, folder: Path, version: int) -> None:
        import numpy as np

        notes = folders.notes(store, folder)
        if notes["version"] != version:
            raise ValueError(f"got an index in {folder} that is of another version")
        self.files: list[str] = notes["files"]
        self.rows: int = notes["rows"]
        self._store, self._digest, self._folder = store, digest, folder
        self._arrays: dict[str, tuple[Any, Any]] = {}
        self._groups = np.load(folder / "groups.npy")
        self._first_rows = self._groups[:, 2]

    def lookup(self, name: str, low: int, high: int, limit: int | None = None) -> list[int]:
        """Rows whose key is in ``[low, high]``, in order; at most ``limit`` keys of each sorted run."""
        return self.lookup_all(name, [(low, high)], limit)

    def lookup_all(self, name: str, ranges: Sequence[tuple[int, int]], limit: int | None = None) -> list[int]:
        """Rows whose key is in any of these ranges, both ends included; each row once, in order."""
        import numpy as np

        keys, rows = self._sorted(name)
        bounds = np.array(ranges, np.uint64).reshape(-1, 2)
        found: set[int] = set()
        for start in range(0, keys.size, RUN_KEYS):
            run = keys[start : start + RUN_KEYS]
            first = np.searchsorted(run, bounds[:, 0], side="left") + start
            last = np.searchsorted(run, bounds[:, 1], side="right") + start
            last = last if limit is None else np.minimum(last, first + limit)
            for low, high in zip(first.tolist(), last.tolist(), strict=True):
                found.update(rows[low:high].tolist())
        return sorted(found)

    def _sorted(self, name: str) -> tuple[Any, Any]:
        import numpy as np

        if name not in self._arrays:
            self._arrays[name] = (
                mapped(self._folder / f"{name}.keys", np.uint64),
                mapped(self._folder / f"{name}.rows", np.uint32),
            )
        return self._arrays[name]

    def read(self, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The values of rows; each row group among them is read once, and only these columns.

        Returns:
            One dictionary per row, in the order given, with the row's number as ``row`` besides the columns.
        """
        groups: dict[int, list[int]] = {}
        for row in sorted(set(rows)):
            groups.setdefault(self.group_of_row(row), []).append(row)
        found: dict[int, dict[str, Any]] = {}

        def look(group: int) -> None:
            table, first = self.table(group, columns), self.first_row(group)
            # Arrow's `take` imports all of Arrow's functions, which costs a process more time than the rows do.
            for run in _runs(groups[group]):
                taken = table.slice(run.start - first, len(run)).to_pylist()
                found.update((row, {**values, "row": row}) for row, values in zip(run, taken, strict=True))

        each(look, list(groups))
        return [found[row] for row in rows]

    def table(self, group: int, columns: Sequence[str]) -> Any:
        """Columns of one row group, numbered over all files."""
        import pyarrow.parquet as pq

        file, number = self._groups[group, :2].tolist()
        with self._store.open_file(self._digest, self.files[file]) as handle:
            return pq.ParquetFile(handle).read_row_group(number, columns=list(columns), use_threads=False)

    @cached_property
    def spans(self) -> Spans:
        """Where the documents of a ``tokens`` artifact lie."""
        first_rows: dict[str, int] = {}
        for (file, _), row in zip(self._groups[:, :2].tolist(), self._first_rows.tolist(), strict=True):
            first_rows.setdefault(self.files[file].rpartition("/")[0], row)
        return Spans(self._folder, first_rows)

    def group_of_row(self, row: int) -> int:
        """The row group that a row is in."""
        return int(self._first_rows.searchsorted(row, side="right")) - 1

    def first_row(self, group: int) -> int:
        """The first row of a row group."""
        return int(self._first_rows[group])

    @property
    def groups(self) -> int:
        """How many row groups there are."""
        return len(self._groups)


def _runs(rows: Sequence[int]) -> Iterator[range]:
    """Rising numbers as runs of consecutive ones."""
    start = 0
    for at in range(1, len(rows) + 1):
        if at == len(rows) or rows[at] != rows[at - 1] + 1:
            yield range(rows[start], rows[at - 1] + 1)
            start = at


def each(work: Any, items: Sequence[Any]) -> list[Any]:
    """Calls a function with each item, in threads where there are several items: Arrow frees the GIL."""
    if len(items) < 2:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))


def id_range(prefix: str) -> tuple[int, int]:
    """The least and the greatest key of the ids that start with these hex digits."""
    return int(prefix[:16].ljust(16, "0"), 16), int(prefix[:16].ljust(16, "f"), 16)


def address_range(end: str) -> tuple[int, int]:
    """The least and the greatest key of the uris that end with this, from a ``/`` or their beginning on."""
    key = address_key(end)
    return (key, key) if "/" in end else (key >> 32 << 32, key | 0xFFFFFFFF)


def address_key(uri: str) -> int:
    """The key of a uri."""
    head, slash, name = uri.rpartition("/")
    folder = head.rpartition("/")[2]
    return zlib.crc32(name.encode()) << 32 | zlib.crc32(f"{folder}{slash}{name}".encode())


def target_key(target: str) -> int:
    """The key of what a decision points at: a document's id, or ``BENCHMARK/ID``."""
    return int.from_bytes(hashlib.blake2b(target.encode(), digest_size=8).digest(), "big")


def id_bytes(ids: Any) -> np.ndarray:
    """The bytes of a pyarrow string array [N] of ids, uint8 [N, 16].

    Raises:
        ValueError: An id does not have 32 hex digits.
    """
    import numpy as np
    import pyarrow as pa

    ids = (ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids).cast(pa.large_string())
    if not len(ids):
        return np.empty((0, 16), np.uint8)
    _, offsets, data = ids.buffers()
    places = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    if not (np.diff(places) == 32).all():
        raise ValueError("got a document id that does not have 32 digits")
    digits = np.frombuffer(data, np.uint8)[places[0] : places[-1]].reshape(-1, 32)
    values = (digits & 15) + (digits >> 6) * np.uint8(9)  # "0" is 0x30, "a" is 0x61
    return values[:, 0::2] << 4 | values[:, 1::2]


def id_keys(ids: np.ndarray) -> np.ndarray:
    """The keys of ids as bytes, uint8 [N, 16]: uint64 [N]."""
    import numpy as np

    return ids[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)


def open_rows(store: Store, digest: str, kind: str) -> RowIndex:
    """Opens an artifact's index and makes it when it is missing, damaged or of another version.

    Raises:
        OSError, ValueError, KeyError: The artifact cannot be read.
    """
    folder = folders.index_folder(store) / digest
    with contextlib.suppress(OSError, ValueError, KeyError):
        return RowIndex(store, digest, folder, VERSIONS[kind])
    told: dict[str, Any] = {"version": VERSIONS[kind]}
    with folders.made_anew(store, folder, told) as made:
        told |= _build(store, digest, kind, made)
    return RowIndex(store, digest, folder, VERSIONS[kind])


def _build(store: Store, digest: str, kind: str, folder: Path) -> dict[str, Any]:
    """Reads the key columns of every row group, one in memory at a time, and returns notes on all of them."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if store.is_local:
        store.take(
            digest
        )  # reads every file once more, and finds what was damaged before this machine saw it
    manifest = store.manifest(digest) or {"files": {}}
    files = [name for name in sorted(manifest["files"]) if _has_rows(name, kind)]
    writers = {name: _KeyWriter(folder, name) for name in ("ids", "addresses", "targets")}
    spans = SpanWriter(folder) if kind == "tokens" else None
    groups, row, last_uri = [], 0, None
    for file, name in enumerate(files):
        with store.open_file(digest, name) as handle:
            parquet = pq.ParquetFile(handle)
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number, columns=COLUMNS[kind])
                if not table.num_rows:
                    continue
                groups.append((file, number, row))
                ids = id_bytes(table["doc_id"])
                writers["ids"].add(id_keys(ids), np.arange(row, row + table.num_rows))
                if spans is not None:
                    spans.add(ids, table["start"].to_numpy(), table["length"].to_numpy())
                if kind == "documents":
                    uris = table["uri"].combine_chunks()
                    is_new = np.ones(table.num_rows, bool)
                    is_new[1:] = pc.not_equal(uris[1:], uris[:-1]).to_numpy(zero_copy_only=False)
                    is_new[0] = uris[0].as_py() != last_uri
                    last_uri = uris[-1].as_py()
                    new = np.flatnonzero(is_new)
                    keys = [address_key(uri) for uri in uris.take(new).to_pylist()]
                    writers["addresses"].add(np.array(keys, np.uint64), new + row)
                elif kind == "decisions":
                    for at, is_address, key in _keys_of_decisions(table):
                        writers["addresses" if is_address else "targets"].one(key, row + at)
                row += table.num_rows
    if row >= 2**32:
        raise ValueError(f"got {row} rows, expected fewer than {2**32} in one artifact")
    for writer in writers.values():
        writer.close()
    if spans is not None:
        spans.close()
    np.save(folder / "groups.npy", np.array(groups, np.int64).reshape(-1, 3))
    return {"rows": row, "files": files}


def _has_rows(name: str, kind: str) -> bool:
    if kind == "tokens":
        return name.endswith("/documents.parquet")
    return name.startswith("part-") and name.endswith(".parquet")


def _keys_of_decisions(table: Any) -> Iterator[tuple[int, bool, int]]:
    """Row, whether the key is the address of a record that could not be read, and key; most decisions have none."""
    import numpy as np
    import pyarrow.compute as pc

    points = pc.and_(pc.not_equal(table["action"], "keep"), pc.not_equal(table["evidence"], "{}"))
    rows = np.flatnonzero(points.fill_null(False).to_numpy())
    for at, values in zip(rows.tolist(), table.take(rows).to_pylist(), strict=True):
        found = json.loads(values["evidence"])
        for target in evidence.pointers(found):
            yield at, False, target_key(target)
        if values["rule"] in UNREAD and not values["bytes_after"] and isinstance(found.get("uri"), str):
            yield at, True, address_key(found["uri"])


class _KeyWriter:
    """Sorts keys a run at a time and appends them to the two files of a name."""

    def __init__(self, folder: Path, name: str) -> None:
        self._paths = [folder / f"{name}.{suffix}" for suffix in ("keys", "rows")]
        self._single: list[tuple[int, int]] = []
        self._parts: list[tuple[Any, Any]] = []
        self._size = 0

    def one(self, key: int, row: int) -> None:
        """Adds one key."""
        self._single.append((key, row))
        if len(self._single) == 2**16:
            self._flush()

    def add(self, keys: Any, rows: Any) -> None:
        """Adds keys, uint64 [N], and the row of each, integers [N]."""
        import numpy as np

        self._parts.append((keys, rows.astype(np.uint32)))
        self._size += keys.size
        while self._size >= RUN_KEYS:
            self._write(RUN_KEYS)

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        self._write(self._size)

    def _flush(self) -> None:
        import numpy as np

        pairs, self._single = self._single, []
        self.add(
            np.array([key for key, _ in pairs], np.uint64), np.array([row for _, row in pairs], np.int64)
        )

    def _write(self, count: int) -> None:
        import numpy as np

        keys = np.concatenate([part for part, _ in self._parts])
        rows = np.concatenate([part for _, part in self._parts])
        self._parts = [(keys[count:], rows[count:])]
        self._size -= count
        keys, rows = keys[:count], rows[:count]
        order = np.argsort(keys)
        for path, values in zip(self._paths, (keys[order], rows[order]), strict=True):
            with path.open("ab") as file:
                file.write(values.data)
                file.flush()
                os.fsync(file.fileno())  # a later reader takes any file for a whole one
