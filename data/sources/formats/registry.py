"""File formats: one module per format, found by the suffix of a file's name or by the word that a spec gives.

A format's module has one function,

    read(stream, where, options) -> Iterator[Record | Batch | Malformed]

- ``stream``: a binary stream of one file or one member of an archive, already decompressed. ``read(size)`` gives at
  most ``size`` bytes and ``b""`` at the end; after the last good byte of a damaged file it raises ``streams.Damaged``.
  Formats that have an index at their end (``RANDOM_ACCESS``) get a stream that can ``seek``.
- ``where``: its address (``where.uri``), name and size, and for formats that can be split (``SPLITTABLE``) the range of
  bytes that is wanted.
- ``options``: columns, languages, limits, encoding.

It yields documents in the file's order, and for everything that is lost one ``Malformed`` with its place, what is wrong
and how many bytes are lost. What is wrong with every record (no such column) is a ``SourceError``. It never raises
anything else for what a file holds, and its memory is bounded by ``options.max_document_bytes``, never by the file.

To add a format: the module here (it is imported only when something is read, so it may import what it needs at its
top), its suffixes in ``SUFFIXES``, its line in ``readers.READERS``. Name and documentation follow. A format that holds
many documents and needs Python for each anyway (``warc``, ``arrayrecord``) yields ``Record``s:
``Record(where.uri, locator, locator, text, lang, metadata)``, the locator telling the place in the decompressed stream.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

SUFFIXES: Mapping[str, str] = {
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".py": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".warc": "warc",
    ".wet": "warc",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".array_record": "arrayrecord",
    ".arrayrecord": "arrayrecord",
}
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

RANDOM_ACCESS = frozenset({"parquet", "zip"})
"""Formats and archives whose readers need to ``seek``."""

SPLITTABLE = frozenset({"arrayrecord", "jsonl", "parquet"})
"""Formats of which a range of bytes can be read, when they are not compressed."""

LOCAL = frozenset({"arrayrecord"})
"""Those of which only files of this machine can be read in ranges."""


def split_name(uri: str) -> tuple[str, str | None]:
    """A file's name in lower case without the suffix of its compression, and that compression.

    What TFDS and Beam write behind suffixes, ``.array_record-00000-of-00001``, is no part of the name either.
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
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"PAR1\x15"):
        return "parquet"
    if head.startswith(b"ARROW1\0\0"):
        return "arrow"
    if head.startswith(b"\x83\xafp\xd1\x0d\x88J?" + bytes(8)):
        return "arrayrecord"
    if head.startswith((b"WARC/1.0\r\n", b"WARC/1.1\r\n")):
        return "warc"
    return "tar" if head[257:262] == b"ustar" else None
