"""JSON Lines: an object a line, read in blocks of lines by compiled code (``jsonl_kernel``).

A bad line costs only itself: lines that the kernels cannot decide go through Python's parser, which also names the
fault. A large plain file is read in ranges: a line belongs to the range in which its first byte lies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.sources.bytes.encodings import as_utf8
from millrace.data.sources.bytes.streams import READ_BYTES, Damaged, rest_of
from millrace.data.sources.records import Item, Malformed, Options, Record, Where
from millrace.data.sources.tables.columns import Rows, blank, is_utf8, items_of
from millrace.data.sources.tables.rows import is_unicode, kind_of, record_of

from .jsonl_kernel import (
    ASCII,
    BLANK,
    FALSE,
    HARD,
    INTEGER,
    MISSING,
    NULL,
    OBJECT,
    OTHER,
    STRING,
    TRUE,
    line_ends,
    scan_lines,
    strings,
)

BLOCK_BYTES = 1 << 22


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


def whole_lines(stream: Any, where: Where, max_bytes: int) -> Iterator[tuple[int, bytes, int]]:
    """Runs of whole lines as (offset, lines, 0), and a line longer than ``max_bytes`` as (offset, b"", its size).

    A line torn by damage comes as (offset, the part before the damage, its size).

    Raises:
        Damaged: After everything before the damage was given.
    """
    offset, held, long_start = where.first, b"", -1
    if where.first:
        # The line in whose middle the range starts belongs to the range before.
        stream.seek(where.first - 1)
        offset, found = where.first - 1, -1
        while found < 0 and (held := stream.read(READ_BYTES)):
            found = held.find(b"\n")
            offset += len(held) if found < 0 else found + 1
        held = held[found + 1 :]
        if where.end is not None and offset >= where.end:
            return
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
        except Damaged:
            if long_start >= 0:
                yield long_start, b"", offset - long_start
            elif held:
                yield offset, held, len(held)
            raise
        if long_start >= 0:
            cut = block.find(b"\n") if block else 0
            if cut < 0:
                offset += len(block)
                continue
            yield long_start, b"", offset + cut - long_start
            offset, held, long_start = offset + cut + 1, block[cut + 1 :], -1
            if not block or (where.end is not None and offset >= where.end):
                return
        else:
            held += block
        lines = held if not block else held[: held.rfind(b"\n") + 1]
        if lines:
            if where.end is not None and offset + len(lines) >= where.end:
                last = lines.find(b"\n", where.end - 1 - offset)
                lines = lines if last < 0 else lines[: last + 1]
            yield offset, lines, 0
            offset, held = offset + len(lines), held[len(lines) :]
            if where.end is not None and offset >= where.end:
                return
        if not block:
            return
        if len(held) > max_bytes:
            offset, held, long_start = offset + len(held), b"", offset


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The lines as documents."""
    number, end = 0 if where.first else 1, where.first
    try:
        for offset, lines, size in whole_lines(as_utf8(stream, options), where, options.max_document_bytes):
            end = offset + (len(lines) or size)
            if not lines:
                yield _too_long(where, options, offset, size, number)
                number += number > 0
                continue
            if size:
                # The part of a torn line may still be a whole object.
                item = _line(lines, where, options, offset, number)
                if isinstance(item, Record):
                    yield item
                continue
            yield from _block(lines, where, options, offset, number)
            number += lines.count(b"\n") if number else 0
    except Damaged as error:
        yield rest_of(where, end, error)


def _too_long(where: Where, options: Options, start: int, size: int, number: int) -> Malformed:
    problem = f"{_place(number)}got {size} bytes, expected at most max_document_bytes = {options.max_document_bytes}"
    return Malformed(where.uri, str(start), problem, size)


def _place(number: int) -> str:
    """What a problem says before it; in a range of a file nobody knows the numbers of lines."""
    return f"line {number}: " if number else ""


def _block(lines: bytes, where: Where, options: Options, offset: int, number: int) -> Iterator[Item]:
    """Whole lines as documents."""
    data = np.frombuffer(lines, np.uint8)
    ends = np.empty(lines.count(b"\n") + 1, np.int64)
    count = int(line_ends(data, ends))
    if not lines.endswith(b"\n"):
        ends[count] = data.size
        count += 1
    ends = ends[:count]
    starts = np.concatenate([[0], ends[:-1] + 1])
    columns = options.columns
    names = list(
        dict.fromkeys(
            name
            for name in (columns.text, columns.id, columns.language, columns.license, *columns.metadata)
            if name is not None
        )
    )
    encoded = [name.encode() for name in names]
    name_starts = np.cumsum([0, *map(len, encoded)])
    status = np.empty(count, np.int8)
    kinds = np.zeros((count, len(names)), np.int8)
    spans = np.zeros((count, len(names), 2), np.int64)
    joined = np.frombuffer(b"".join(encoded), np.uint8)
    scan_lines(data, starts, ends, joined, name_starts, status, kinds, spans)
    status[ends - starts > options.max_document_bytes] = HARD
    whole = pa.Array.from_buffers(
        pa.large_string(), 1, [None, pa.py_buffer(np.array([0, data.size])), pa.py_buffer(lines)]
    )
    if not is_utf8(whole):
        for row in np.flatnonzero(status == OBJECT):
            if not _is_utf8(lines[starts[row] : ends[row]]):
                status[row] = HARD
    at = {name: place for place, name in enumerate(names)}
    fast = (status == OBJECT) & _is_string(kinds[:, at[columns.text]])
    if columns.id is not None:
        fast &= (kinds[:, at[columns.id]] == ASCII) | (kinds[:, at[columns.id]] == INTEGER)
    if columns.language is not None:
        fast &= np.isin(kinds[:, at[columns.language]], (MISSING, NULL, ASCII))
    if columns.license is not None:
        fast &= np.isin(kinds[:, at[columns.license]], (MISSING, NULL, ASCII, STRING))
    for name in columns.metadata:
        fast &= kinds[:, at[name]] != OTHER
    places = np.flatnonzero(fast)
    texts, is_bad = _strings(data, spans[places, at[columns.text]])
    is_bad |= blank(texts)
    for name in (*columns.metadata, *([columns.license] if columns.license else [])):
        is_bad |= _has_lone_surrogate(lines, kinds[places, at[name]], spans[places, at[name]])
    if is_bad.any():
        fast[places[is_bad]] = False
        texts, places = texts.filter(pa.array(~is_bad)), places[~is_bad]
    metadata = {
        name: _json(lines, data, kinds[places, at[name]], spans[places, at[name]])
        for name in (*columns.metadata, *([columns.id] if columns.id else []))
    }
    if columns.id is not None:
        metadata["id"] = metadata[columns.id] if columns.id == "id" else metadata.pop(columns.id)
    if columns.license is not None:
        own = _json(lines, data, kinds[places, at[columns.license]], spans[places, at[columns.license]])
        metadata["license"] = own if "license" not in metadata else own.fill_null(metadata["license"])
    rows = Rows(
        places,
        pa.array(starts[places] + offset).cast(pa.string()),
        texts,
        None if columns.id is None else _raw(data, spans[places, at[columns.id]]),
        None if columns.language is None else _raw(data, spans[places, at[columns.language]]),
        metadata,
    )
    others = []
    for row in np.flatnonzero(~fast & (status != BLANK)):
        line = lines[starts[row] : ends[row]]
        item = _line(line, where, options, offset + int(starts[row]), number and number + int(row))
        if item is not None:
            others.append((int(row), item))
    yield from items_of(where, options, rows, others)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_string(kinds: np.ndarray) -> np.ndarray:
    return (kinds == ASCII) | (kinds == STRING)


def _strings(data: np.ndarray, spans: np.ndarray) -> tuple[Any, np.ndarray]:
    """Strings without escapes, pyarrow large_string array, and which are no Unicode."""
    offsets, is_bad = np.zeros(len(spans) + 1, np.int64), np.zeros(len(spans), bool)
    out = np.empty(int((spans[:, 1] - spans[:, 0]).sum()), np.uint8)
    strings(data, np.ascontiguousarray(spans), out, offsets, is_bad)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out)]
    return pa.Array.from_buffers(pa.large_string(), len(spans), buffers), is_bad


def _has_lone_surrogate(lines: bytes, kinds: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Whether each value is a string with half of a surrogate pair, which only an escape can write; bool [rows]."""
    found = np.zeros(len(spans), bool)
    for row in np.flatnonzero(kinds == STRING):
        first, last = spans[row]
        if b"\\u" in lines[first:last]:
            found[row] = not is_unicode(json.loads(lines[first - 1 : last + 1]))
    return found


def _raw(data: np.ndarray, spans: np.ndarray) -> Any:
    """The text of the values, pyarrow string array."""
    return _strings(data, spans)[0].cast(pa.string())


def _json(lines: bytes, data: np.ndarray, kinds: np.ndarray, spans: np.ndarray) -> Any:
    """Values as ``json.dumps`` writes them, pyarrow string array with nulls where there are none."""
    copied = np.isin(kinds, (ASCII, INTEGER, TRUE, FALSE))
    quotes = np.array([-1, 1]) * (kinds == ASCII)[:, None]
    values = _raw(data, np.where(copied[:, None], spans + quotes, 0))
    escaped = kinds == STRING
    values = pc.if_else(pa.array(copied | escaped), values, None)
    if escaped.any():
        own = [json.dumps(json.loads(lines[first - 1 : last + 1])) for first, last in spans[escaped].tolist()]
        values = pc.replace_with_mask(values, pa.array(escaped), pa.array(own, pa.string()))
    return values


def _line(line: bytes, where: Where, options: Options, start: int, number: int) -> Record | Malformed | None:
    """One line as a record, or its fault; None when it is blank."""
    place, size = _place(number), len(line)
    if size > options.max_document_bytes:
        return _too_long(where, options, start, size, number)
    if not line.strip():
        return None
    try:
        row = json.loads(line.decode("utf-8-sig" if start == 0 else "utf-8"))
    except UnicodeDecodeError as error:
        problem = f"{place}got invalid UTF-8 ({error.reason}), expected UTF-8, or another encoding to be named by encoding"
        return Malformed(where.uri, str(start + error.start), problem, size)
    except (ValueError, RecursionError) as error:
        return Malformed(where.uri, str(start), f"{place}got no JSON ({error}), expected an object", size)
    if not isinstance(row, dict):
        problem = f"{place}got a JSON {kind_of(row)}, expected an object"
        return Malformed(where.uri, str(start), problem, size, is_stretch=isinstance(row, list))
    return record_of(row, where, options, str(start), place, size)
