"""Files that patterns name, local or on any store that fsspec knows: which there are, their parts, their records.

Files are streamed: memory is bounded by ``max_document_bytes`` and one block of rows, never by a file, so a gzip bomb
or a 200 MB line costs no more than any other bad record. Unreadable data become a ``Malformed`` record with file and
offset, and reading goes on after them; only what is wrong with every record of a file (no such column) or with the
source itself (a pattern that matches nothing) is a ``SourceError``.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from millrace.data.sources.formats.registry import (
    ARCHIVES,
    COMPRESSIONS,
    FORMATS,
    NEEDS_SEEK,
    SUFFIXES,
    format_of_bytes,
    format_of_name,
    split_name,
)

from .records import PART_BYTES, ColumnsError, Item, Malformed, Options, SourceError, Where

if TYPE_CHECKING:
    from millrace.data.sources.bytes.streams import Peeked

DEFAULTS = Options()
HELD_BYTES = 2**28
"""How large a compressed file, or a member of an archive, may be whose format needs all of it at once."""
MARKS = ("__MACOSX/", "._")  # what macOS leaves in archives beside each file


@dataclass(frozen=True)
class File:
    """One file: its address as the documents show it, its size and what tells that it changed."""

    uri: str
    size_bytes: int
    version: str


@dataclass(frozen=True)
class Piece:
    """A file, or the records of it that start in a range of its bytes.

    Attributes:
        file: The file.
        first: Where the range starts.
        end: Where it ends; None: the whole file.
    """

    file: File
    first: int = 0
    end: int | None = None

    @property
    def uri(self) -> str:
        """The file's address."""
        return self.file.uri

    @property
    def size_bytes(self) -> int:
        """Bytes of the range."""
        return (self.file.size_bytes if self.end is None else self.end) - self.first


@dataclass(frozen=True)
class Part:
    """Files and pieces of files that are read together, and how."""

    files: tuple[Piece, ...]
    options: Options


def format_of(uri: str, options: Options = DEFAULTS) -> tuple[str, str | None]:
    """The format or archive (``text``, ``jsonl``, ``zip``) and compression of a file, by the options or its name.

    Raises:
        SourceError: The name ends in nothing that can be read.
    """
    name, compression = split_name(uri)
    found = format_of_name(name)
    if options.format is not None and found not in ARCHIVES.values():
        found = options.format
    if found is None:
        raise SourceError(
            f"got file {uri}, expected a name that ends in {', '.join(SUFFIXES)}, or in that and "
            f"{', '.join(COMPRESSIONS)}, or in {', '.join(ARCHIVES)} with such files inside: narrow the pattern, or "
            "set format"
        )
    return found, compression


def list_files(patterns: Sequence[str]) -> list[File]:
    """The files that any pattern matches, each once, sorted by uri.

    Local patterns keep their form: a path relative to the working directory stays relative, so that document
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
    """The fingerprint that shows changes of the source: (uri, size, modification time or etag) of each file."""
    return [(file.uri, file.size_bytes, file.version) for file in list_files(patterns)]


def plan(patterns: Sequence[str], options: Options = DEFAULTS) -> list[Part]:
    """Cuts the matching files into parts; small files are read together.

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
    return plan_files(list_files(patterns), options)


def plan_files(files: Sequence[File], options: Options = DEFAULTS) -> list[Part]:
    """Cuts files into parts, in their order; there must be some.

    Raises:
        SourceError: A file has no readable format.
    """
    pieces = [piece for file in files for piece in _pieces(file, options, *format_of(file.uri, options))]
    parts: list[Part] = []
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(one.size_bytes for one in group) + piece.size_bytes > PART_BYTES:
            parts.append(Part(tuple(group), options))
            group = []
        group.append(piece)
    parts.append(Part(tuple(group), options))
    return parts


def _pieces(file: File, options: Options, kind: str, compression: str | None) -> Iterator[Piece]:
    """The file, or its ranges when it is large and can be read in ranges."""
    own = FORMATS.get(kind)
    is_splittable = own is not None and own.is_splittable and not (own.is_local and "://" in file.uri)
    is_splittable = is_splittable and compression is None and options.encoding in ("auto", "utf-8")
    if not is_splittable or file.size_bytes <= PART_BYTES:
        yield Piece(file)
        return
    for first in range(0, file.size_bytes, PART_BYTES):
        yield Piece(file, first, min(first + PART_BYTES, file.size_bytes))


def read(part: Part) -> Iterator[Item]:
    """Streams the documents of one part.

    Raises:
        SourceError: Nothing says the format of a file.
    """
    from millrace.data.sources.bytes.streams import Peeked, open_file

    for piece in part.files:
        uri, size = piece.uri, piece.file.size_bytes
        if size == 0:
            yield Malformed(uri, "0", "got an empty file, expected at least one record")
            continue
        try:
            opened = open_file(uri)
        except OSError as error:
            if piece.first == 0:
                yield Malformed(uri, "0", f"got {error.strerror or error}, expected a readable file", size)
            continue
        with opened:
            where = Where(uri, split_name(uri)[0], size, piece.first, piece.end)
            yield from read_stream(Peeked(opened), where, part.options, split_name(uri)[1])


def read_stream(
    stream: Peeked, where: Where, options: Options, compression: str | None, *, in_archive: bool = False
) -> Iterator[Item]:
    """The documents of a file, or of a member of an archive, as it is stored.

    Args:
        stream: Where it starts.
        where: Its address, name and range.
        options: How it is read.
        compression: The compression named by its suffix; its first bytes decide.
        in_archive: Whether it is a member, in which archives are left closed.

    Raises:
        SourceError: Nothing says its format.
    """
    from millrace.data.sources.bytes.encodings import marked_encoding
    from millrace.data.sources.bytes.streams import Damaged, Decompressed, Peeked, compression_of, rest_of

    head = stream.peek(265)
    found = compression_of(head)
    if found is None and compression is not None and head:
        problem = f"got a truncated or corrupt {compression} stream: it does not start as one"
        problem += ", expected what its name says"
        yield Malformed(where.uri, "0", problem, where.size_bytes, is_stretch=True)
        return
    if found is not None:
        inside: Any = Decompressed(
            stream, found, max_bytes=options.max_member_bytes, max_ratio=options.max_ratio
        )
        stream = Peeked(inside)
        head = stream.peek(265)
    if found is not None or marked_encoding(head[:4]) not in (None, "utf-8-sig"):
        # A file that turns out not to be readable in ranges is read whole by the first of them.
        if where.first:
            return
        where = replace(where, end=None)
    kind = format_of_bytes(head) or options.format or format_of_name(where.name)
    if in_archive and (kind is None or kind in ARCHIVES.values()):
        problem = "got a member that is not of a known format, expected one, or set format"
        yield Malformed(where.uri, "0", problem, where.size_bytes, rule="skipped")
        return
    if kind is None:
        raise SourceError(f"got file {where.uri}, expected a known format: set format")
    own = FORMATS.get(kind)
    if where.first and (own is None or not own.is_splittable):
        return
    if kind in NEEDS_SEEK and (found is not None or not stream.seekable()):
        from millrace.data.sources.bytes.archives import in_memory

        try:
            held = in_memory(stream, HELD_BYTES)
        except Damaged as error:
            yield rest_of(where, 0, error)
            return
        if held is None:
            problem = f"got a compressed {kind} file of more than {HELD_BYTES} bytes, expected a plain one"
            yield Malformed(where.uri, "0", problem, where.size_bytes, is_stretch=True)
            return
        where = replace(where, size_bytes=held.getbuffer().nbytes)
        stream = Peeked(held)
    if own is not None:
        try:
            yield from own.reader()(stream, where, options)
        except ColumnsError as error:
            if where.first == 0:
                yield Malformed(where.uri, "0", str(error), where.size_bytes, is_stretch=True)
        return
    from millrace.data.sources.bytes.archives import tar_members, zip_members

    members = tar_members(stream, where, options) if kind == "tar" else zip_members(stream, where, options)
    for member in members:
        if isinstance(member, Malformed):
            yield member
            continue
        inner, opened = member
        name, inner_compression = split_name(inner.name)
        base = inner.uri.split("!/", 1)[-1]
        if base.startswith(MARKS[0]) or base.rsplit("/", 1)[-1].startswith(MARKS[1]):
            problem = "got a note of macOS about another member"
            yield Malformed(inner.uri, "0", problem, inner.size_bytes, rule="skipped")
        elif opened.peek(1) or _is_damaged(opened):
            yield from read_stream(
                opened, replace(inner, name=name), options, inner_compression, in_archive=True
            )
        else:
            yield Malformed(inner.uri, "0", "got an empty file, expected at least one record")


def _is_damaged(stream: Peeked) -> bool:
    """Whether a stream that gives nothing breaks off, and is not empty; it says so again to who reads it."""
    try:
        stream.read(1)
    except OSError:
        return True
    return False
