"""Documents and decisions on disk: their columns, ids and Parquet shards.

A ``documents`` artifact is a folder of ``part-00000.parquet`` ... ; so is a ``decisions`` artifact. Every writer goes
through ``write_shard``, whose settings are fixed, because artifacts are addressed by their bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("uri", pa.string()),
        ("locator", pa.string()),
        ("metadata", pa.string()),
    ]
)
DECISIONS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("action", pa.string()),
        ("rule", pa.string()),
        ("score", pa.float64()),
        ("evidence", pa.string()),
        ("bytes_before", pa.int64()),
        ("bytes_after", pa.int64()),
    ]
)
ACTIONS = ("keep", "drop", "edit")


def document_id(uri: str, locator: str) -> str:
    """The 128-bit id of a record, as 32 hex digits: a hash of where it came from, never of its text.

    Args:
        uri: Where the record's file is.
        locator: Where in the file the record is (row, byte offset); empty when the file is the record.
    """
    return hashlib.blake2b(f"{uri}\n{locator}".encode(), digest_size=16).hexdigest()


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a documents or decisions artifact in their fixed order."""
    return sorted(folder.glob("part-*.parquet"))


def shard_name(index: int) -> str:
    """File name of the shard with this index."""
    return f"part-{index:05d}.parquet"


def write_shard(path: Path, table: pa.Table) -> None:
    """Writes one shard with the fixed settings that make equal tables equal bytes.

    Level 1 of zstd writes prose at 244 MB/s a core and leaves 39% of it; level 3 writes 152 MB/s and leaves 34%.
    """
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=1,
        row_group_size=16_384,
        use_dictionary=["source", "lang", "action", "rule"],
        write_statistics=False,
        store_schema=False,
    )


def read_shard(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """One shard, or some of its columns, read by the calling thread alone.

    The stages have a thread for each core already: without Arrow's own threads and its layer for datasets, reading takes
    three quarters of the processor time.
    """
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read(columns=columns, use_threads=False)


def read_shards(folder: Path, columns: Sequence[str] | None = None) -> Iterable[pa.Table]:
    """The tables of an artifact, shard by shard, so that memory is bounded by one shard."""
    for path in shard_paths(folder):
        yield read_shard(path, columns)


def documents_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of documents; every row has all columns of ``DOCUMENTS``."""
    return pa.Table.from_pylist(list(rows), schema=DOCUMENTS)


def decisions_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of decisions; every row has all columns of ``DECISIONS``."""
    return pa.Table.from_pylist(list(rows), schema=DECISIONS)
