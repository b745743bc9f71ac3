"""Parquet: a row is a document.

A damaged page costs the rest of its row group; the groups after it are read. A large file is read in ranges: a row
group belongs to the range in which its first byte lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..records import PART_BYTES, Item, Malformed, Options, Where
from ..tabular import batch_items, wanted_columns

READ_ROWS = 8192
ERRORS = (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError)


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The rows as documents.

    Raises:
        ColumnsError: The file has no text column of strings, or lacks another column that is named.
    """
    try:
        # Buffered, so that a row group of any size costs a buffer for each column.
        parquet = pq.ParquetFile(
            stream, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True
        )
        facts = parquet.metadata
        groups = [facts.row_group(index) for index in range(facts.num_row_groups)]
        schema = parquet.schema_arrow
    except ERRORS as error:
        if where.first == 0:
            words = f"got a truncated or corrupt Parquet file ({error}), expected a whole one"
            yield Malformed(where.uri, "0", words, where.size_bytes, is_stretch=True)
        return
    names = wanted_columns(schema, where, options)
    first_row = 0
    for index, group in enumerate(groups):
        row, first_row = first_row, first_row + group.num_rows
        if not where.first <= _start(group, where) < (where.end or max(where.size_bytes, 1)):
            continue
        # Rows per batch such that a batch is a third of a part at most, however long the documents are.
        rows = PART_BYTES * max(group.num_rows, 1) // max(3 * group.total_byte_size, 1)
        problem: str | None = None
        try:
            batches = parquet.iter_batches(
                max(1, min(READ_ROWS, rows)), row_groups=[index], columns=names, use_threads=False
            )
            for batch in batches:
                yield from batch_items(batch, row, where, options)
                row += batch.num_rows
            if row != first_row:
                problem = f"row {row}: got the end of a row group"
        except ERRORS as error:
            problem = f"row {row}: got a corrupt Parquet page ({error})"
        if problem is not None:
            share = (first_row - row) / max(group.num_rows, 1)
            problem += f", expected rows up to {first_row - 1}"
            size = round(share * max(group.total_byte_size, 0))
            yield Malformed(where.uri, str(row), problem, size, is_stretch=True)


def _start(group: Any, where: Where) -> int:
    """Where a row group starts in the file, as its first column says."""
    if not group.num_columns:
        return where.first
    column = group.column(0)
    starts = [column.data_page_offset]
    if column.has_dictionary_page:
        starts.append(column.dictionary_page_offset)
    return int(min(max(min(starts), 0), max(where.size_bytes - 1, 0)))
