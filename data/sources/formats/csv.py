"""CSV and TSV with a line of names: a row is a document, as RFC 4180 quotes it.

A row with an unclosed quote is lost up to ``max_document_bytes`` or the end of the file, in one decision: a missing
quote cannot be told from line ends inside a text.

References:
    RFC 4180, Common Format and MIME Type for Comma-Separated Values (CSV) Files.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from millrace.data.sources.bytes.encodings import as_utf8
from millrace.data.sources.bytes.streams import Damaged, rest_of
from millrace.data.sources.records import ColumnsError, Item, Malformed, Options, Where
from millrace.data.sources.tables.rows import record_of

from .jsonl import lines_of

FIELD_BYTES = 2**31 - 1  # the csv module's own limit is of the process; ``_Lines`` has ours


class _TooLongError(Exception):
    pass


class _Lines:
    """Physical lines for ``csv.reader``, and what the record that it is at has used of them."""

    def __init__(self, stream: Any, max_bytes: int) -> None:
        self._lines = lines_of(stream, max_bytes)
        self._max_bytes = max_bytes
        self.start = self.end = 0
        self.is_utf8 = True

    def begin(self) -> None:
        self.start, self.is_utf8 = self.end, True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        start, size, line = next(self._lines)
        self.end = start + size + 1
        if line is None or self.end - self.start > self._max_bytes + 1:
            raise _TooLongError
        text = line.decode("utf-8", "surrogateescape")
        self.is_utf8 = self.is_utf8 and (text.isascii() or line.decode("utf-8", "ignore") == text)
        return (text.removeprefix("\ufeff") if start == 0 else text) + "\n"


def read(stream: Any, where: Where, options: Options) -> Iterator[Item]:
    """The rows as documents.

    Raises:
        ColumnsError: The line of names lacks a column that is named.
    """
    csv.field_size_limit(FIELD_BYTES)
    lines = _Lines(as_utf8(stream, options), options.max_document_bytes)
    delimiter = options.delimiter or ("\t" if where.name.endswith(".tsv") else ",")
    names: list[str] | None = None
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        locator = str(lines.start)
        try:
            row = next(rows)
        except StopIteration:
            return
        except Damaged as error:
            yield rest_of(where, locator, error)
            return
        except _TooLongError:
            problem = f"got a row of more than max_document_bytes = {options.max_document_bytes} bytes, or quotes that do not close"
            yield Malformed(where.uri, locator, problem, lines.end - lines.start, is_stretch=True)
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        except csv.Error as error:
            size = lines.end - lines.start
            words = f"got no row of CSV ({error}), expected closed quotes"
            yield Malformed(where.uri, locator, words, size, is_stretch=True)
            continue
        size = lines.end - lines.start
        if not row:
            continue
        problem = ""
        if not lines.is_utf8:
            problem = "got invalid UTF-8, expected UTF-8, or another encoding to be named by encoding"
        elif any("\0" in value for value in row):
            problem = "got a null character, expected text"
        if problem and names is None:
            yield Malformed(where.uri, locator, problem, where.size_bytes, is_stretch=True)
            return
        if problem:
            yield Malformed(where.uri, locator, problem, size)
        elif names is None:
            names = _names(row, where, options)
        elif len(row) != len(names):
            problem = f"got {len(row)} fields, expected {len(names)} as in the line of names"
            yield Malformed(where.uri, locator, problem, size)
        else:
            # An empty field is how CSV says that there is no value.
            values = {name: value for name, value in zip(names, row, strict=True) if value}
            values.setdefault(options.columns.text, "")
            yield record_of(values, where, options, locator, "", size)


def _names(row: list[str], where: Where, options: Options) -> list[str]:
    columns = options.columns
    for name in filter(None, (columns.text, columns.id, columns.language, columns.license)):
        if name not in row:
            raise ColumnsError(
                f"got columns {', '.join(row)} in {where.uri}, expected a column {name!r}: set the names of the "
                "source's columns, or its delimiter"
            )
    return row
