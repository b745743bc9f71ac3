"""Arrow's record batches as documents: what Parquet and Arrow files have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.sources.records import ColumnsError, Item, Malformed, Options, Record, Where

from .columns import Rows, blank, is_utf8, items_of, json_values
from .rows import record_of


def wanted_columns(schema: Any, where: Where, options: Options) -> list[str]:
    """The columns to read, in the schema's order.

    Raises:
        ColumnsError: One that is named is missing, or the text is no string.
    """
    columns = options.columns
    try:
        names = schema.names
    except UnicodeDecodeError as error:
        raise ColumnsError(f"got a column name that is no UTF-8 ({error.reason}), expected names") from None
    for name in filter(None, (columns.text, columns.id, columns.language, columns.license)):
        if names.count(name) != 1:
            raise ColumnsError(
                f"got columns {', '.join(names)} in {where.uri}, expected a column {name!r}: set the names of the "
                "source's columns"
            )
    kind = schema.field(columns.text).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise ColumnsError(f"got type {kind} in column {columns.text!r} of {where.uri}, expected string")
    wanted = {columns.text, columns.id, columns.language, columns.license, *columns.metadata}
    return [name for name in dict.fromkeys(names) if name in wanted]


def batch_items(batch: Any, first_row: int, where: Where, options: Options) -> Iterator[Item]:
    """The rows of one record batch as documents.

    Args:
        batch: A pyarrow record batch with the wanted columns.
        first_row: The number of its first row in the file, which makes the locators.
        where: The file.
        options: The roles of the columns.
    """
    rows, slow = _fast(batch, first_row, options), np.arange(batch.num_rows)
    if rows is not None:
        slow = np.setdiff1d(slow, rows.places, assume_unique=True)
    others = [(int(row), _record(batch, int(row), first_row, where, options)) for row in slow]
    if rows is not None:
        yield from items_of(where, options, rows, others)
    else:
        yield from (item for _, item in others)


def _fast(batch: Any, first_row: int, options: Options) -> Rows | None:
    """The rows that nothing is special about; None when a type or invalid UTF-8 makes every row special."""
    columns = options.columns
    values = {name: batch.column(at) for at, name in enumerate(batch.schema.names)}
    for name, column in values.items():
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
        if not is_utf8(column):
            return None
        values[name] = column.cast(pa.large_string()) if name == columns.text else column
    texts = values[columns.text]
    fine = ~np.asarray(texts.is_null())
    fine &= np.asarray(pc.binary_length(texts).fill_null(0)) <= options.max_document_bytes
    if columns.id is not None:
        if json_values(values[columns.id].slice(0, 0)) is None or pa.types.is_boolean(
            values[columns.id].type
        ):
            return None
        fine &= ~np.asarray(values[columns.id].is_null())
    if columns.language is not None and not _is_string(values[columns.language].type):
        return None
    fine[fine] = ~blank(texts.filter(pa.array(fine)))
    if not fine.all():
        values = {name: column.filter(pa.array(fine)) for name, column in values.items()}
    metadata = {name: json_values(values[name]) for name in columns.metadata if name in values}
    if columns.id is not None:
        metadata["id"] = json_values(values[columns.id])
    if columns.license is not None:
        own = json_values(values[columns.license]) if _is_string(values[columns.license].type) else None
        other = metadata.get("license")
        metadata["license"] = own if own is None or other is None else own.fill_null(other)
    if any(column is None for column in metadata.values()):
        return None
    places = np.flatnonzero(fine)
    return Rows(
        places,
        pa.array(places + first_row).cast(pa.string()),
        values[columns.text],
        None if columns.id is None else values[columns.id].cast(pa.string()),
        None if columns.language is None else values[columns.language].cast(pa.string()),
        metadata,
    )


def _is_string(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _record(batch: Any, row: int, first_row: int, where: Where, options: Options) -> Record | Malformed:
    """One row with a closer look; one invalid string must not take its whole batch along."""
    place, locator = f"row {row + first_row}: ", str(row + first_row)
    try:
        values = {name: batch.column(at)[row].as_py() for at, name in enumerate(batch.schema.names)}
    except UnicodeDecodeError as error:
        problem = f"{place}got invalid UTF-8 ({error.reason}), expected UTF-8"
        return Malformed(where.uri, locator, problem, len(error.object))
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return Malformed(where.uri, locator, f"{place}got {error}, expected a value")
    text = values[options.columns.text]
    size = 0 if text is None else len(text.encode())
    if size > options.max_document_bytes:
        problem = (
            f"{place}got {size} bytes, expected at most max_document_bytes = {options.max_document_bytes}"
        )
        return Malformed(where.uri, locator, problem, size)
    return record_of(values, where, options, locator, place, size)
