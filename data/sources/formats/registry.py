"""File formats: one module per format, found by the suffix of a file's name or by the word that a spec gives.

A format's module has one function,

    read(stream, where, options) -> Iterator[Record | Batch | Malformed]

- ``stream``: a binary stream of one file or one member of an archive, already decompressed. ``read(size)`` gives at
  most ``size`` bytes and ``b""`` at the end; after the last good byte of a damaged file it raises ``streams.Damaged``.
  Formats that have an index at their end (``needs_seek``) get a stream that can ``seek``.
- ``where``: its address (``where.uri``), name and size, and for formats that can be split (``is_splittable``) the range of
  bytes that is wanted.
- ``options``: columns, languages, limits, encoding.

It yields documents in the file's order, and one ``Malformed`` for each loss, with its place, the fault and the bytes
lost. A fault of every record (no such column) is a ``SourceError``. It never raises anything else for what a file
holds, and its memory is bounded by ``options.max_document_bytes``, never by the file.

To add a format: its module here (it is imported only when something is read, so it imports what it needs at its top),
and its entry under ``FORMATS``; suffixes, the words that a spec may use and documentation follow. A format that holds
many documents and needs Python for each anyway (``warc``, ``arrayrecord``) yields ``Record``s:
``Record(where.uri, locator, locator, text, lang, metadata)``, the locator telling the place in the decompressed stream.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from millrace.data.sources.records import Item, Options, Where

Reader = Callable[[Any, Where, Options], Iterator[Item]]


class Format(NamedTuple):
    """A file format.

    Attributes:
        reader: Imports its module and returns the function that reads it.
        suffixes: Of the names of its files.
        marks: Bytes that identify its files whatever their names: places in the first 265 bytes, and the bytes
            that stand there; any of them is enough.
        needs_seek: Whether it has an index at its end, so that its reader must ``seek``.
        is_splittable: Whether a range of bytes can be read of a file that is not compressed.
        is_local: Whether ranges can be read of files of this machine only.
    """

    reader: Callable[[], Reader]
    suffixes: tuple[str, ...]
    marks: tuple[tuple[int, bytes], ...] = ()
    needs_seek: bool = False
    is_splittable: bool = False
    is_local: bool = False


FORMATS: dict[str, Format] = {}
"""The word that a spec uses -> the format; filled by the entries below and by nothing else."""


def _entry(word: str, *suffixes: str, **facts: Any) -> Callable[[Callable[[], Reader]], None]:
    def enter(reader: Callable[[], Reader]) -> None:
        FORMATS[word] = Format(reader, suffixes, **facts)

    return enter


@_entry("text", ".txt", ".md", ".rst", ".py")
def _text() -> Reader:
    from .text import read

    return read


@_entry("html", ".html", ".htm", ".xhtml")
def _html() -> Reader:
    from millrace.data.sources.html.format import read

    return read


@_entry("warc", ".warc", ".wet", marks=((0, b"WARC/1.0\r\n"), (0, b"WARC/1.1\r\n")))
def _warc() -> Reader:
    from .warc import read

    return read


@_entry("json", ".json")
def _json() -> Reader:
    from .json_values import read

    return read


@_entry("jsonl", ".jsonl", ".ndjson", is_splittable=True)
def _jsonl() -> Reader:
    from .jsonl import read

    return read


@_entry("csv", ".csv", ".tsv")
def _csv() -> Reader:
    from .csv import read

    return read


@_entry("parquet", ".parquet", marks=((0, b"PAR1\x15"),), needs_seek=True, is_splittable=True)
def _parquet() -> Reader:
    from .parquet import read

    return read


@_entry("arrow", ".arrow", ".feather", marks=((0, b"ARROW1\0\0"),))
def _arrow() -> Reader:
    from .arrow import read

    return read


@_entry(
    "arrayrecord",
    ".array_record",
    ".arrayrecord",
    marks=((0, b"\x83\xafp\xd1\x0d\x88J?" + bytes(8)),),
    is_splittable=True,
    is_local=True,
)
def _arrayrecord() -> Reader:
    from .arrayrecord import read

    return read


SUFFIXES: Mapping[str, str] = {suffix: word for word, own in FORMATS.items() for suffix in own.suffixes}
"""Suffix of a file's name -> format."""

COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
"""Suffix of a file's name -> compression."""

ARCHIVES: Mapping[str, str] = {".tar": "tar", ".zip": "zip"}
"""Suffix of a file's name -> archive, whose members have formats by their own names."""

SHORT_SUFFIXES: Mapping[str, str] = {
    ".tgz": ".tar.gz",
    ".tbz2": ".tar.bz2",
    ".txz": ".tar.xz",
    ".tzst": ".tar.zst",
}

SHARD = re.compile(r"-\d{5,}-of-\d{5,}$")

NEEDS_SEEK = frozenset({"zip", *(word for word, own in FORMATS.items() if own.needs_seek)})
"""Formats and archives whose readers need to ``seek``."""


def split_name(uri: str) -> tuple[str, str | None]:
    """A file's name in lower case without the suffix of its compression, and that compression.

    The shard numbers that TFDS and Beam append to suffixes, ``.array_record-00000-of-00001``, are no part of the name
    either.
    """
    name = SHARD.sub("", uri.lower())
    stem, suffix = os.path.splitext(name)
    if suffix in SHORT_SUFFIXES:
        name = stem + SHORT_SUFFIXES[suffix]
        stem, suffix = os.path.splitext(name)
    return (stem, COMPRESSIONS[suffix]) if suffix in COMPRESSIONS else (name, None)


def format_of_name(name: str) -> str | None:
    """The format or archive that a name without compression suffixes tells, or None."""
    suffix = os.path.splitext(name)[1]
    return ARCHIVES.get(suffix) or SUFFIXES.get(suffix)


def format_of_bytes(head: bytes) -> str | None:
    """The format or archive that the first 265 bytes tell beyond doubt, whatever the name, or None."""
    for word, own in FORMATS.items():
        if any(head.startswith(mark, place) for place, mark in own.marks):
            return word
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else None
