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
many documents and needs Python for each anyway (``html``, ``warc``, ``wet``, ``arrayrecord``) yields ``Record``s:
``Record(where.uri, locator, locator, text, lang, metadata)``, the locator telling the place in the decompressed stream.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SUFFIXES: Mapping[str, str] = {
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".py": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""Suffix of a file's name -> format."""

COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}
"""Suffix of a file's name -> compression."""

RANDOM_ACCESS = frozenset({"parquet"})
"""Formats whose readers need to ``seek``."""


def split_name(uri: str) -> tuple[str, str | None]:
    """A file's name in lower case without the suffix of its compression, and that compression."""
    name = uri.lower()
    for suffix, compression in COMPRESSIONS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), compression
    return name, None


def format_of_name(name: str) -> str | None:
    """The format that a name without compression suffixes tells, or None."""
    return SUFFIXES.get(os.path.splitext(name)[1])
