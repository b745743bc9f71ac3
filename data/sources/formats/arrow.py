"""Arrow IPC (.arrow, .feather of version 2): a row is a document; files, and streams as Hugging Face's cache has them.

Both are read front to back as a stream of messages: a file is one between its magic and its footer, so a truncated
file gives the batches that are whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from millrace.data.sources.bytes.streams import READ_BYTES, Damaged
from millrace.data.sources.records import Item, Malformed, Options, Where
from millrace.data.sources.tables.batches import batch_items, wanted_columns

MAGIC = b"ARROW1\0\0"
READ_ROWS = 8192
ERRORS = (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError, KeyError)


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The rows as documents.

    Raises:
        ColumnsError: The file has no text column of strings, or lacks another column that is named.
    """
    is_file = stream.peek(len(MAGIC)) == MAGIC
    if is_file:
        stream.read(len(MAGIC))
    row = 0
    try:
        messages = pa.ipc.open_stream(pa.PythonFile(stream, "r"))
        schema = messages.schema
    except ERRORS as error:
        yield Malformed(
            where.uri,
            "0",
            f"got no Arrow stream ({error}), expected one of version 1 or later",
            where.size_bytes,
            is_stretch=True,
        )
        return
    names = wanted_columns(schema, where, options)
    while True:
        try:
            batch = messages.read_next_batch().select(names)
            batch.validate()  # offsets that point outside of their buffers would crash what reads them
            _check_offsets(batch)
        except StopIteration:
            if problem := _leftover(stream, is_file):
                size = max(0, where.size_bytes - stream.stored_bytes_read)
                yield Malformed(where.uri, str(row), problem, size, is_stretch=True)
            return
        except ERRORS as error:
            problem = f"row {row}: got a truncated or corrupt Arrow stream ({error}), expected a whole one"
            yield Malformed(
                where.uri,
                str(row),
                problem,
                max(0, where.size_bytes - stream.stored_bytes_read),
                is_stretch=True,
            )
            return
        for first in range(0, batch.num_rows, READ_ROWS):
            yield from batch_items(batch.slice(first, READ_ROWS), row + first, where, options)
        row += batch.num_rows


def _leftover(stream: Any, is_file: bool) -> str:
    """The fault of the bytes after the end mark, which a block of zeros imitates; a file has its footer there."""
    try:
        rest = stream.read(READ_BYTES)
    except Damaged as error:
        return str(error)
    size = int.from_bytes(rest[-10:-6], "little") if is_file and rest.endswith(MAGIC[:6]) else -10
    if len(rest) == size + 10:
        return ""
    return f"got {len(rest)} bytes or more after the end mark of an Arrow stream, expected {'its footer' if is_file else 'none'}"


def _check_offsets(batch: Any) -> None:
    """Raises ``ArrowInvalid`` for anything in a batch that is wrong, invalid UTF-8 excepted."""
    for column in batch.columns:
        kind = column.type
        if pa.types.is_string(kind):
            column = column.view(pa.binary())
        elif pa.types.is_large_string(kind):
            column = column.view(pa.large_binary())
        column.validate(full=True)
