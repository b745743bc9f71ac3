"""The values that every source yields: records, batches of records as columns, malformed records; and their limits.

A source is three functions. ``fingerprint`` covers, at planning speed, everything that changes the records. ``plan``
looks at names and sizes only and cuts the source into parts, deterministically and whatever the number of workers.
``read`` streams the records of one part. Nothing here imports pyarrow or numpy, because planning a run takes
fingerprints of sources and must stay fast.

Readers of formats whose rows cost little (JSON Lines, Parquet) yield a ``Batch``: columns, and no Python per document.
Readers of formats whose documents cost much anyway (a file of text, a page of HTML) yield a ``Record`` each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PART_BYTES = 12 * 2**20
"""Target size of a part and of an output shard: 8-16 MB keep memory small and Beam's overhead per element unseen."""


class SourceError(Exception):
    """A source cannot be read at all and the user can mend it: got, expected, what to do."""


class ColumnsError(SourceError):
    """A file lacks a column that the options name, or it holds something else: got, expected, what to do."""


@dataclass(frozen=True)
class Record:
    """One document as read.

    Attributes:
        uri: Where the record's file is, independent of the machine when the source can make it so.
        locator: Where in the file the record is; empty when the file is the record.
        key: Identifier of the record inside its file: the locator, or the user's own id.
        text: The decoded text.
        lang: Language tag; ``python`` for code.
        metadata: JSON values; ``license`` whenever known.
        held_out: Whether the record is kept out of training.
    """

    uri: str
    locator: str
    key: str
    text: str
    lang: str
    metadata: Mapping[str, object] = field(default_factory=dict)
    held_out: bool = False


@dataclass(frozen=True)
class Batch:
    """Documents of one file as columns, in the file's order; the meaning of each is that of ``Record``.

    Attributes:
        uri: Where the file is.
        locators: pyarrow string array [documents].
        keys: pyarrow string array [documents]; None: the locators.
        texts: pyarrow large_string array [documents]: no nulls, valid UTF-8, none blank.
        lang: pyarrow string array [documents], or the tag of all.
        metadata: pyarrow string array [documents] of JSON objects with sorted keys, or the object of all.
    """

    uri: str
    locators: Any
    keys: Any | None
    texts: Any
    lang: Any
    metadata: Any = "{}"


@dataclass(frozen=True)
class Malformed:
    """A record that cannot be used.

    Attributes:
        uri: Where its file is.
        locator: Byte offset, row or line of the problem.
        problem: The value got and the one expected.
        size_bytes: Bytes that are lost, as far as known.
        is_stretch: Whether it stands for a stretch of a file that may hold any number of records.
        rule: ``malformed``; ``empty`` for a record that is well-formed and has no text; ``skipped`` for a member of an
            archive, or a response of a web archive, that nothing here reads, which is no fault of the source.
    """

    uri: str
    locator: str
    problem: str
    size_bytes: int = 0
    rule: str = "malformed"
    is_stretch: bool = False


Item = Record | Batch | Malformed


@dataclass(frozen=True)
class Columns:
    """The roles of a record's columns (keys).

    Attributes:
        text: The text, required in every record.
        id: The user's own id, which then makes the document's id; None takes the record's place in its file.
        language: The language tag; None takes ``Options.default_language`` for all.
        license: The licence, which goes to ``license`` in the metadata.
        metadata: Copied into the document's metadata where present.
    """

    text: str = "text"
    id: str | None = None
    language: str | None = None
    license: str | None = None
    metadata: tuple[str, ...] = ("license",)


@dataclass(frozen=True)
class Options:
    """How a source's files are read.

    Attributes:
        columns: For formats with columns.
        default_language: Language tag of documents that name none.
        default_license: Licence of documents that name none; None leaves it out.
        max_document_bytes: A larger file, line or value is malformed.
        format: A word of ``formats.registry.FORMATS`` for all files; None goes by their names.
        encoding: Of text: ``auto``, or a name that Python knows.
        delimiter: Between fields of CSV; None: a comma, a tab in .tsv.
        records: Kind of the records of ArrayRecord files: ``text``, ``json``, ``example``; ``auto`` goes by the first.
        max_member_bytes: A file or a member of an archive that inflates to more is malformed.
        max_ratio: One that inflates by more than this is malformed.
        html: The part of a page to extract: ``main``, its main content, or ``all`` that is visible.
    """

    columns: Columns = Columns()
    default_language: str = "en"
    default_license: str | None = None
    max_document_bytes: int = PART_BYTES
    format: str | None = None
    encoding: str = "auto"
    delimiter: str | None = None
    records: str = "auto"
    max_member_bytes: int = 2**36
    max_ratio: float = 1000.0
    html: str = "main"


@dataclass(frozen=True)
class Where:
    """The input of a format's reader: a file or a member of an archive, or a range of a large file.

    Attributes:
        uri: Its address, ``files.zip!/member.jsonl`` for a member.
        name: The name that says its format, in lower case, without the suffixes of compressions.
        size_bytes: Its size as it is stored, 0 when unknown.
        first: Where the range starts, in bytes of the file.
        end: Where it ends; None: the whole file. A record belongs to the range in which it starts.
    """

    uri: str
    name: str
    size_bytes: int = 0
    first: int = 0
    end: int | None = None
