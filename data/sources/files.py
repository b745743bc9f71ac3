"""A user's own corpus: text, JSON Lines and Parquet files, local or on any store that fsspec knows.

Files are streamed: memory is bounded by ``max_document_bytes`` and one block of rows, never by a file, so a gzip bomb
or a 200 MB line costs no more than any other bad record. What cannot be read becomes a ``Malformed`` record with file
and offset, and reading goes on after it; only what is wrong with every record of a file (no such column) or with the
source itself (a pattern that matches nothing) is a ``SourceError``.

Compressed files are read through Arrow's streams and not through ``gzip`` and ``zstandard``: they release the GIL,
bound what one read inflates, and tell a truncated frame from a finished one, which zstandard's reader does not.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .records import PART_BYTES, Malformed, Record, SourceError

READ_BYTES = 1 << 20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"} | dict.fromkeys(
    (".txt", ".md", ".rst", ".py"), "text"
)


@dataclass(frozen=True)
class Columns:
    """Which columns (keys) of a record are what.

    Attributes:
        text: The text, required in every record.
        id: The user's own id, which then makes the document's id; None takes the record's place in its file.
        language: The language tag; None takes ``default_language`` for all.
        metadata: Copied into the document's metadata where present.
    """

    text: str = "text"
    id: str | None = None
    language: str | None = None
    metadata: tuple[str, ...] = ("license",)


@dataclass(frozen=True)
class File:
    """One file: its address as the documents show it, its size and what tells that it changed."""

    uri: str
    size_bytes: int
    version: str


@dataclass(frozen=True)
class Part:
    """Files that are read together, and how."""

    files: tuple[File, ...]
    columns: Columns
    default_language: str
    max_document_bytes: int


def format_of(uri: str) -> tuple[str, str | None]:
    """The format (``text``, ``jsonl``, ``parquet``) and compression of a file, by its name.

    Raises:
        SourceError: The name ends in nothing that can be read.
    """
    stem, compression = uri.lower(), None
    for suffix, name in COMPRESSIONS.items():
        if stem.endswith(suffix):
            stem, compression = stem.removesuffix(suffix), name
    found = FORMATS.get(os.path.splitext(stem)[1])
    if found is None or (compression and found == "parquet"):
        raise SourceError(
            f"got file {uri}, expected a name that ends in {', '.join(FORMATS)}, all but .parquet also with .gz or "
            ".zst: narrow the pattern"
        )
    return found, compression


def list_files(patterns: Sequence[str]) -> list[File]:
    """The files that any pattern matches, each once, sorted by uri.

    Local patterns keep their form: what is given relative to the working directory stays relative, so that document
    ids do not depend on where the folder lies.

    Args:
        patterns: Globs (``my/**/*.jsonl``), local or with a protocol (``s3://bucket/*.parquet``).
    """
    found: dict[str, File] = {}
    for pattern in patterns:
        if "://" in pattern:
            import fsspec

            try:
                filesystem, path = fsspec.core.url_to_fs(pattern)
            except (ImportError, ValueError) as error:
                raise SourceError(
                    f"got pattern {pattern!r}, expected a protocol that is installed: {error}"
                ) from None
            for info in filesystem.glob(path, detail=True).values():
                if info["type"] == "file":
                    uri = filesystem.unstrip_protocol(info["name"])
                    version = (
                        info.get("ETag") or info.get("etag") or info.get("LastModified") or info.get("mtime")
                    )
                    found[uri] = File(uri, int(info["size"]), str(version))
            continue
        for path in glob.glob(pattern, recursive=True):
            if os.path.isfile(path):
                state = os.stat(path)
                uri = os.path.normpath(path).replace(os.sep, "/")
                found[uri] = File(uri, state.st_size, str(state.st_mtime_ns))
    return [found[uri] for uri in sorted(found)]


def fingerprint(patterns: Sequence[str]) -> list[tuple[str, int, str]]:
    """What tells that the source changed: (uri, size, modification time or etag) of each file."""
    return [(file.uri, file.size_bytes, file.version) for file in list_files(patterns)]


def plan(
    patterns: Sequence[str],
    *,
    columns: Columns = Columns(),
    default_language: str = "en",
    max_document_bytes: int = PART_BYTES,
) -> list[Part]:
    """Cuts the matching files into parts; a file is never split, small files are read together.

    Raises:
        SourceError: A pattern matches nothing, or a file has no readable format.
    """
    for pattern in patterns:
        if not list_files([pattern]):
            hint = (
                f"; it is a folder: write {pattern.rstrip('/')}/**/*.jsonl" if os.path.isdir(pattern) else ""
            )
            raise SourceError(
                f"got pattern {pattern!r} that matches no file, expected at least one: check the path, which counts "
                f"from the spec's folder{hint}"
            )
    parts: list[Part] = []
    group: list[File] = []
    for file in list_files(patterns):
        format_of(file.uri)
        if group and sum(one.size_bytes for one in group) + file.size_bytes > PART_BYTES:
            parts.append(Part(tuple(group), columns, default_language, max_document_bytes))
            group = []
        group.append(file)
    parts.append(Part(tuple(group), columns, default_language, max_document_bytes))
    return parts


def read(part: Part) -> Iterator[Record | Malformed]:
    """Streams the documents of one part.

    Raises:
        SourceError: A Parquet file has no text column of strings.
    """
    for file in part.files:
        kind, compression = format_of(file.uri)
        if file.size_bytes == 0:
            yield Malformed(file.uri, "0", "got an empty file, expected at least one record")
            continue
        try:
            opened = open_file(file.uri)
        except OSError as error:
            yield Malformed(
                file.uri, "0", f"got {error.strerror or error}, expected a readable file", file.size_bytes
            )
            continue
        with opened:
            if kind == "parquet":
                yield from _read_parquet(part, file, opened)
            elif kind == "jsonl":
                yield from _read_jsonl(part, file, decompressed(opened, compression), compression)
            else:
                yield from _read_text(part, file, decompressed(opened, compression), compression)


def open_file(uri: str) -> Any:
    """Opens a local or remote file for reading bytes.

    Raises:
        OSError: It cannot be opened.
    """
    if "://" in uri:
        import fsspec

        return fsspec.open(uri, "rb").open()
    return open(uri, "rb")


def decompressed(opened: BinaryIO, compression: str | None) -> Any:
    """A readable stream of the decompressed bytes."""
    if compression is None:
        return opened
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(opened, mode="r"), compression)


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


def _read_jsonl(part: Part, file: File, stream: Any, compression: str | None) -> Iterator[Record | Malformed]:
    seen: set[bytes] = set()
    number, end = 0, 0
    lines = lines_of(stream, part.max_document_bytes)
    while True:
        try:
            start, size, line = next(lines)
        except StopIteration:
            break
        except (OSError, EOFError, ValueError) as error:
            yield Malformed(file.uri, str(end), _broken(compression, error))
            break
        number, end = number + 1, start + size + 1
        if line is None:
            problem = f"line {number}: got {size} bytes, expected at most max_document_bytes = {part.max_document_bytes}"
            yield Malformed(file.uri, str(start), problem, size)
            continue
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig" if start == 0 else "utf-8"))
        except UnicodeDecodeError as error:
            problem = f"line {number}: got invalid UTF-8 ({error.reason}), expected UTF-8"
            yield Malformed(file.uri, str(start + error.start), problem, size)
            continue
        except (ValueError, RecursionError) as error:
            yield Malformed(
                file.uri, str(start), f"line {number}: got no JSON ({error}), expected an object", size
            )
            continue
        if not isinstance(row, dict):
            problem = f"line {number}: got a JSON {_kind(row)}, expected an object"
            yield Malformed(file.uri, str(start), problem, size)
            continue
        yield _record(part, file.uri, row, str(start), f"line {number}: ", size, seen)


def _broken(compression: str | None, error: Exception) -> str:
    what = f"a truncated or corrupt {compression} stream" if compression else "a file that breaks off"
    return f"got {what} ({error}), expected a whole file: fetch or write it again"


def _kind(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _is_unicode(text: str) -> bool:
    """Whether a string can be written as UTF-8; JSON can smuggle in half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _record(
    part: Part, uri: str, row: Mapping[str, Any], locator: str, where: str, size: int, seen: set[bytes]
) -> Record | Malformed:
    """One row as a record, or what is wrong with it."""
    columns = part.columns
    if columns.text not in row:
        problem = f"{where}got columns {', '.join(sorted(map(str, row))) or 'none'}, expected a text column {columns.text!r}"
        return Malformed(uri, locator, problem, size)
    text = row[columns.text]
    if not isinstance(text, str):
        problem = f"{where}got a JSON {_kind(text)} in column {columns.text!r}, expected a string"
        return Malformed(uri, locator, problem, size)
    if not text.strip():
        return Malformed(uri, locator, f"{where}got no text", size, rule="empty")
    if not _is_unicode(text) or (columns.id is not None and not _is_unicode(str(row.get(columns.id)))):
        return Malformed(uri, locator, f"{where}got a lone surrogate escape, expected Unicode text", size)
    metadata: dict[str, object] = {}
    for name in columns.metadata:
        if (value := row.get(name)) is not None:
            metadata[name] = value if isinstance(value, str | int | bool) else str(value)
    key = locator
    if columns.id is not None:
        if not isinstance(row.get(columns.id), str | int):
            problem = (
                f"{where}got a JSON {_kind(row.get(columns.id))} in column {columns.id!r}, expected an id"
            )
            return Malformed(uri, locator, problem, size)
        key = f"id={row[columns.id]}"
        mark = key.encode()
        if mark in seen:
            return Malformed(
                uri, locator, f"{where}got id {row[columns.id]!r} again, expected ids to be unique", size
            )
        seen.add(mark)
        metadata["id"] = row[columns.id]
    lang = row.get(columns.language) if columns.language else None
    return Record(uri, locator, key, text, str(lang or part.default_language), metadata)


def _read_text(part: Part, file: File, stream: Any, compression: str | None) -> Iterator[Record | Malformed]:
    pieces, total = [], 0
    try:
        while total <= part.max_document_bytes and (block := stream.read(READ_BYTES)):
            pieces.append(block)
            total += len(block)
    except (OSError, EOFError, ValueError) as error:
        yield Malformed(file.uri, str(total), _broken(compression, error), file.size_bytes)
        return
    if total > part.max_document_bytes:
        problem = f"got more than max_document_bytes = {part.max_document_bytes} bytes, expected at most that"
        yield Malformed(file.uri, "0", problem, file.size_bytes)
        return
    try:
        text = b"".join(pieces).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"got invalid UTF-8 ({error.reason}), expected UTF-8"
        yield Malformed(file.uri, str(error.start), problem, total)
        return
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    if not text.strip():
        yield Malformed(file.uri, "0", "got no text", total, rule="empty")
        return
    stem = file.uri.lower().removesuffix(".gz").removesuffix(".zst")
    lang = "python" if stem.endswith(".py") else part.default_language
    yield Record(file.uri, "", "", text, lang)


def _read_parquet(part: Part, file: File, opened: BinaryIO) -> Iterator[Record | Malformed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = part.columns
    row = 0
    try:
        parquet = pq.ParquetFile(opened)
    except (pa.ArrowInvalid, OSError) as error:
        yield Malformed(file.uri, "0", f"got a truncated or corrupt Parquet file ({error})", file.size_bytes)
        return
    schema = parquet.schema_arrow
    for name in filter(None, (columns.text, columns.id, columns.language)):
        if name not in schema.names:
            raise SourceError(
                f"got columns {', '.join(schema.names)} in {file.uri}, expected a column {name!r}: set the names "
                "of the source's columns"
            )
    kind = schema.field(columns.text).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise SourceError(f"got type {kind} in column {columns.text!r} of {file.uri}, expected string")
    wanted = {columns.text, columns.id, columns.language, *columns.metadata}
    facts = parquet.metadata
    # Rows per batch such that a batch is about one part, however long the documents are.
    total_bytes = sum(facts.row_group(index).total_byte_size for index in range(facts.num_row_groups))
    rows = max(1, min(8192, PART_BYTES * max(facts.num_rows, 1) // max(total_bytes, 1)))
    seen: set[bytes] = set()
    batches = parquet.iter_batches(rows, columns=[name for name in schema.names if name in wanted])
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowInvalid, OSError) as error:
            yield Malformed(file.uri, str(row), f"row {row}: got a corrupt Parquet page ({error})")
            return
        names = batch.schema.names
        # Column by column and value by value: one invalid string must not take its whole batch along.
        for index in range(batch.num_rows):
            where, locator = f"row {row}: ", str(row)
            row += 1
            try:
                values = {name: batch.column(at)[index].as_py() for at, name in enumerate(names)}
            except UnicodeDecodeError as error:
                problem = f"{where}got invalid UTF-8 ({error.reason}), expected UTF-8"
                yield Malformed(file.uri, locator, problem)
                continue
            text = values[columns.text]
            size = (
                0
                if text is None
                else len(text.encode())
                if len(text) * 4 > part.max_document_bytes
                else len(text)
            )
            if size > part.max_document_bytes:
                problem = f"{where}got {size} bytes, expected at most max_document_bytes = {part.max_document_bytes}"
                yield Malformed(file.uri, locator, problem, size)
                continue
            yield _record(part, file.uri, values, locator, where, size, seen)
