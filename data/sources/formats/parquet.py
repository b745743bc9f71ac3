"""Parquet: a row is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..records import PART_BYTES, Malformed, Options, Record, SourceError, Where
from ..rows import record_of


def read(stream: Any, where: Where, options: Options) -> Iterator[Record | Malformed]:
    """The rows as documents."""
    columns = options.columns
    row = 0
    try:
        parquet = pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError) as error:
        yield Malformed(
            where.uri, "0", f"got a truncated or corrupt Parquet file ({error})", where.size_bytes
        )
        return
    schema = parquet.schema_arrow
    for name in filter(None, (columns.text, columns.id, columns.language)):
        if name not in schema.names:
            raise SourceError(
                f"got columns {', '.join(schema.names)} in {where.uri}, expected a column {name!r}: set the names "
                "of the source's columns"
            )
    kind = schema.field(columns.text).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise SourceError(f"got type {kind} in column {columns.text!r} of {where.uri}, expected string")
    wanted = {columns.text, columns.id, columns.language, *columns.metadata}
    facts = parquet.metadata
    # Rows per batch such that a batch is about one part, however long the documents are.
    total_bytes = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
    rows = max(1, min(8192, PART_BYTES * max(facts.num_rows, 1) // max(total_bytes, 1)))
    batches = parquet.iter_batches(rows, columns=[name for name in schema.names if name in wanted])
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowInvalid, OSError) as error:
            yield Malformed(where.uri, str(row), f"row {row}: got a corrupt Parquet page ({error})")
            return
        names = batch.schema.names
        # Column by column and value by value: one invalid string must not take its whole batch along.
        for index in range(batch.num_rows):
            place, locator = f"row {row}: ", str(row)
            row += 1
            try:
                values = {name: batch.column(at)[index].as_py() for at, name in enumerate(names)}
            except UnicodeDecodeError as error:
                problem = f"{place}got invalid UTF-8 ({error.reason}), expected UTF-8"
                yield Malformed(where.uri, locator, problem)
                continue
            text = values[columns.text]
            size = (
                0
                if text is None
                else len(text.encode())
                if len(text) * 4 > options.max_document_bytes
                else len(text)
            )
            if size > options.max_document_bytes:
                problem = f"{place}got {size} bytes, expected at most max_document_bytes = {options.max_document_bytes}"
                yield Malformed(where.uri, locator, problem, size)
                continue
            yield record_of(values, where, options, locator, place, size)
