"""Parquet: a row is a document.

A damaged page costs the rest of its row group; the groups after it are read. A large file is read in ranges: a row
group belongs to the range in which it starts, estimated from the sizes of the groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.data.sources.records import PART_BYTES, Item, Malformed, Options, Where
from millrace.data.sources.tables.batches import batch_items, wanted_columns

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
    starts = _starts(groups, where.size_bytes)
    if where.first == 0 and facts.num_rows != sum(group.num_rows for group in groups):
        problem = f"got row groups that are not the {facts.num_rows} rows of the file together, expected all of them"
        yield Malformed(where.uri, "0", problem, 0, is_stretch=True)
    for index, group in enumerate(groups):
        row, first_row = first_row, first_row + group.num_rows
        if not where.first <= starts[index] < (where.end or max(where.size_bytes, 1)):
            continue
        # Rows per batch such that a batch is a third of a part at most, however long the documents are.
        rows = PART_BYTES * max(group.num_rows, 1) // max(3 * group.total_byte_size, 1)
        problem = ""
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
        if problem:
            share = (first_row - row) / max(group.num_rows, 1)
            problem += f", expected rows up to {first_row - 1}"
            size = round(share * max(group.total_byte_size, 0))
            yield Malformed(where.uri, str(row), problem, size, is_stretch=True)


def _starts(groups: Sequence[Any], size_bytes: int) -> list[int]:
    """About where each row group starts in a file, by the share of the groups before it.

    Its columns would say where exactly, but asking pyarrow for them ends the process where their statistics are corrupt.
    """
    sizes = [max(0, group.total_byte_size) for group in groups]
    total, last = max(sum(sizes), 1), max(size_bytes - 1, 0)
    return [last * before // total for before in itertools.accumulate(sizes, initial=0)][: len(sizes)]
