"""Files that patterns name, local or on any store that fsspec knows: which there are, their parts, their records.

Files are streamed: memory is bounded by ``max_document_bytes`` and one block of rows, never by a file, so a gzip bomb
or a 200 MB line costs no more than any other bad record. What cannot be read becomes a ``Malformed`` record with file
and offset, and reading goes on after it; only what is wrong with every record of a file (no such column) or with the
source itself (a pattern that matches nothing) is a ``SourceError``.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .formats import COMPRESSIONS, SUFFIXES, format_of_name, split_name
from .records import PART_BYTES, Item, Malformed, Options, SourceError, Where

DEFAULTS = Options()


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
    options: Options


def format_of(uri: str) -> tuple[str, str | None]:
    """The format (``text``, ``jsonl``, ``parquet``) and compression of a file, by its name.

    Raises:
        SourceError: The name ends in nothing that can be read.
    """
    name, compression = split_name(uri)
    found = format_of_name(name)
    if found is None or (compression and found == "parquet"):
        raise SourceError(
            f"got file {uri}, expected a name that ends in {', '.join(SUFFIXES)}, or in that and "
            f"{', '.join(COMPRESSIONS)}: narrow the pattern, or set format"
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
    parts: list[Part] = []
    group: list[File] = []
    for file in list_files(patterns):
        format_of(file.uri)
        if group and sum(one.size_bytes for one in group) + file.size_bytes > PART_BYTES:
            parts.append(Part(tuple(group), options))
            group = []
        group.append(file)
    parts.append(Part(tuple(group), options))
    return parts


def read(part: Part) -> Iterator[Item]:
    """Streams the documents of one part.

    Raises:
        SourceError: A file lacks a column that the options name.
    """
    from .formats.readers import READERS
    from .streams import decompressed, open_file

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
        where = Where(file.uri, split_name(file.uri)[0], file.size_bytes)
        with opened:
            yield from READERS[kind](decompressed(opened, compression), where, part.options)
