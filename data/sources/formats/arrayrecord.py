"""ArrayRecord (.array_record, .arrayrecord): a record is a document, a JSON object, or a ``tf.train.Example``.

A file's first record decides among the three, unless the option ``records`` does. Files are read by record
number with the library that wrote them. It checks a hash of every chunk. It misread none of 1,200 damaged files and
crashed on none: a damaged chunk costs its records, each recorded as a decision. It needs the index at the end: a
truncated file, or one with bytes added or missing, gives nothing. A chunk is held in memory whole (one record in what
TFDS writes).

The library opens paths of this machine, so anything else is copied to a temporary file first, and read by one worker.

References:
    The ArrayRecord format: ``array_record``'s README; Riegeli's ``doc/riegeli_records_file_format.md``.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from millrace.data.sources.bytes.encodings import UnknownEncodingError, decode
from millrace.data.sources.bytes.streams import READ_BYTES, Damaged, rest_of
from millrace.data.sources.records import Malformed, Options, Record, SourceError, Where
from millrace.data.sources.tables.rows import record_of
from millrace.data.sources.tables.tf_example import example_values

BLOCK_BYTES, BLOCK_RECORDS = 1 << 20, 1024  # of the file, for one call of the library, and at least a chunk
READER = "readahead_buffer_size:1M,max_parallelism:0"  # parts are read in parallel
GROUP = re.compile(r"\bgroup_size:(\d+)")
ERRORS = (ValueError, RuntimeError, IndexError, OSError, MemoryError)
MISSING = (
    "got an ArrayRecord file, but array_record is not installed; expected it: pip install 'millrace[tfds]'"
)

Decoder = Callable[[bytes, Where, Options, int], Record | Malformed]


def read(stream: Any, where: Where, options: Options) -> Iterator[Record | Malformed]:
    """The records of a file, or those that are in a range of it as if all were as large.

    Raises:
        SourceError: The library is not installed.
    """
    try:
        opened = _local(stream)
    except Damaged as error:
        yield rest_of(where, 0, error)
        return
    with opened as path:
        reader, count = open_reader(path)
        if reader is None:
            if where.first == 0:
                problem = (
                    "got a truncated or corrupt ArrayRecord file: no index at its end, expected a whole one"
                )
                yield Malformed(where.uri, "0", problem, where.size_bytes, is_stretch=True)
            return
        if count == 0:
            yield Malformed(
                where.uri, "0", "got no record, expected at least one", where.size_bytes, rule="empty"
            )
        size = max(where.size_bytes, 1)
        first, end = -(-where.first * count // size), count
        if where.end is not None:
            end = min(count, -(-where.end * count // size))
        yield from records(reader, first, end, where, options)
        reader.close()


def _local(stream: Any) -> AbstractContextManager[str]:
    """The path of a stream's file: its own, or that of a copy.

    Raises:
        Damaged: The stream breaks off.
    """
    raw = stream.raw
    if isinstance(raw, io.BufferedReader) and isinstance(getattr(raw, "name", None), str):
        return nullcontext(raw.name)
    copy = tempfile.NamedTemporaryFile(suffix=".array_record")  # noqa: SIM115 - closed by who reads it
    while block := stream.read(READ_BYTES):
        copy.write(block)
    copy.flush()
    return _Copy(copy)


class _Copy(AbstractContextManager[str]):
    """A temporary file as the path of one."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> str:
        return str(self._file.name)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def open_reader(path: str) -> tuple[Any, int]:
    """The library's reader of a file and the number of its records; no reader when it has no index.

    Raises:
        SourceError: The library is not installed.
    """
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError:
        raise SourceError(MISSING) from None
    try:
        reader = ArrayRecordReader(path, READER)
        count = reader.num_records()
        is_whole = reader.ok()  # a lost index looks like no records
    except ERRORS:
        return None, 0
    return (reader, count) if is_whole else (None, 0)


def records(
    reader: Any, first: int, end: int, where: Where, options: Options
) -> Iterator[Record | Malformed]:
    """The records from ``first`` to before ``end`` as documents.

    Args:
        reader: Of ``open_reader``.
        first: Number of a record in the file, which is its locator.
        end: Likewise.
        where: The file, with its size.
        options: How records are read.
    """
    if first >= end:
        return
    count = reader.num_records()
    mean_bytes = max(1, where.size_bytes // max(count, 1))
    match = GROUP.search(reader.writer_options_string())
    group = max(1, int(match[1]) if match else 1)
    # Whole chunks: the library decompresses one for each call that touches it.
    block = group * max(1, min(BLOCK_RECORDS, BLOCK_BYTES // mean_bytes) // group)
    as_document = DECODERS.get(options.records) or _kind_of(reader, count, group)
    for start in range(first - first % block, end, block):
        numbers = range(max(start, first), min(start + block, end))
        found = _read(reader, numbers)
        if isinstance(found[0], Exception):
            chunks = range(start, start + block, group)
            own = (range(max(at, first), min(at + group, end)) for at in chunks)
            found = [data for chunk in own if chunk for data in _read(reader, chunk)]
        for number, data in zip(numbers, found, strict=True):
            if isinstance(data, Exception):
                problem = f"record {number}: got a corrupt chunk ({data}), expected a whole one"
                yield Malformed(where.uri, str(number), problem, mean_bytes)
            elif len(data) > options.max_document_bytes:
                problem = f"record {number}: got {len(data)} bytes, expected at most max_document_bytes = "
                yield Malformed(where.uri, str(number), f"{problem}{options.max_document_bytes}", len(data))
            else:
                yield as_document(data, where, options, number)


def _read(reader: Any, numbers: range) -> Sequence[bytes | Exception]:
    """Records of successive numbers; what is wrong, for each, when one cannot be read."""
    try:
        return list(reader.read(numbers.start, numbers.stop))
    except ERRORS as error:
        return [error] * len(numbers)


def _kind_of(reader: Any, count: int, group: int) -> Decoder:
    """The kind of a file's records, by the first readable one of a chunk."""
    for number in range(0, count, group):
        (data,) = _read(reader, range(number, number + 1))
        if isinstance(data, bytes):
            if data.lstrip()[:1] == b"{":
                return json_of
            try:
                example_values(data, ())
            except ValueError:
                return text_of
            return example_of
    return text_of


def rows_of(stream: Any) -> Iterator[tuple[int, Mapping[str, Any] | str | None]]:
    """The records of a file as they are, for a look at it: each one's size, and its values, its text, or nothing.

    Raises:
        SourceError: The library is not installed.
        Damaged: The stream breaks off.
    """
    with _local(stream) as path:
        reader, count = open_reader(path)
        decoder = _kind_of(reader, count, 1) if count else text_of
        for number in range(count):
            (data,) = _read(reader, range(number, number + 1))
            if isinstance(data, bytes):
                yield len(data), _row(data, decoder)


def _row(data: bytes, decoder: Decoder) -> Mapping[str, Any] | str | None:
    try:
        if decoder is example_of:
            return example_values(data, example_values(data, ()))
        return json.loads(data) if decoder is json_of else data.decode()
    except (ValueError, RecursionError):
        return None


def text_of(data: bytes, where: Where, options: Options, number: int) -> Record | Malformed:
    """A record that is a text."""
    place, locator = f"record {number}: ", str(number)
    try:
        text, encoding = decode(data, options.encoding)
    except UnknownEncodingError as error:
        return Malformed(where.uri, locator, f"{place}{error}", len(data))
    if "\0" in text:
        return Malformed(where.uri, locator, f"{place}got a null character, expected text", len(data))
    if not text.strip():
        return Malformed(where.uri, locator, f"{place}got no text", len(data), rule="empty")
    metadata: dict[str, object] = {} if encoding is None else {"encoding": encoding}
    if options.default_license is not None:
        metadata["license"] = options.default_license
    return Record(where.uri, locator, locator, text, options.default_language, metadata)


def json_of(data: bytes, where: Where, options: Options, number: int) -> Record | Malformed:
    """A record that is a JSON object."""
    place, locator = f"record {number}: ", str(number)
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Malformed(where.uri, locator, f"{place}got no JSON ({error}), expected an object", len(data))
    if not isinstance(row, dict):
        return Malformed(where.uri, locator, f"{place}got other JSON, expected an object", len(data))
    return record_of(row, where, options, locator, place, len(data))


def example_of(data: bytes, where: Where, options: Options, number: int) -> Record | Malformed:
    """A record that is an example."""
    place, locator, columns = f"record {number}: ", str(number), options.columns
    wanted = {columns.text, columns.id, columns.language, columns.license, *columns.metadata} - {None}
    try:
        row = example_values(data, sorted(filter(None, wanted)))
    except ValueError as error:
        return Malformed(where.uri, locator, f"{place}{error}", len(data))
    return record_of(row, where, options, locator, place, len(data))


DECODERS: Mapping[str, Decoder] = {"text": text_of, "json": json_of, "example": example_of}
"""The option ``records`` -> what reads one."""
