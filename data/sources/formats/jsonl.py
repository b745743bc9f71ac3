"""JSON Lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..records import Malformed, Options, Record, Where
from ..rows import kind_of, record_of
from ..streams import READ_BYTES, Damaged


def lines_of(stream: Any, max_bytes: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Lines of a stream as (byte offset, size in bytes, line), the line None when it is longer than ``max_bytes``.

    A stream that breaks (truncated, corrupt) raises its OSError after the last whole line; the torn line is lost.
    """
    offset = line_start = 0
    pieces: list[bytes] = []
    held_bytes, too_long = 0, False
    while block := stream.read(READ_BYTES):
        start = 0
        while (end := block.find(b"\n", start)) >= 0:
            size = offset + end - line_start
            too_long = too_long or size > max_bytes
            line = None if too_long else b"".join((*pieces, block[start:end]))
            yield line_start, size, line
            pieces, held_bytes, too_long = [], 0, False
            start = end + 1
            line_start = offset + start
        rest = block[start:]
        offset += len(block)
        held_bytes += len(rest)
        if held_bytes > max_bytes:
            pieces, too_long = [], True
        elif rest and not too_long:
            pieces.append(rest)
    if offset > line_start:
        yield line_start, offset - line_start, None if too_long else b"".join(pieces)


def read(stream: Any, where: Where, options: Options) -> Iterator[Record | Malformed]:
    """The lines as documents; a bad line costs only itself."""
    number = end = 0
    lines = lines_of(stream, options.max_document_bytes)
    while True:
        try:
            start, size, line = next(lines)
        except StopIteration:
            return
        except Damaged as error:
            yield Malformed(where.uri, str(end), f"{error}, expected a whole file", where.size_bytes)
            return
        number, end = number + 1, start + size + 1
        if line is None:
            problem = f"line {number}: got {size} bytes, expected at most max_document_bytes = {options.max_document_bytes}"
            yield Malformed(where.uri, str(start), problem, size)
        elif line.strip():
            yield record_of_line(line, where, options, start, f"line {number}: ", size)


def record_of_line(
    line: bytes, where: Where, options: Options, start: int, place: str, size: int
) -> Record | Malformed:
    """One line as a record, or what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8-sig" if start == 0 else "utf-8"))
    except UnicodeDecodeError as error:
        problem = f"{place}got invalid UTF-8 ({error.reason}), expected UTF-8"
        return Malformed(where.uri, str(start + error.start), problem, size)
    except (ValueError, RecursionError) as error:
        return Malformed(where.uri, str(start), f"{place}got no JSON ({error}), expected an object", size)
    if not isinstance(row, dict):
        problem = f"{place}got a JSON {kind_of(row)}, expected an object"
        return Malformed(where.uri, str(start), problem, size)
    return record_of(row, where, options, str(start), place, size)
