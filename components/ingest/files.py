"""The source ``files``: files that patterns name, in every format of ``data.sources.formats.registry``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from millrace.data.sources.formats.registry import FORMATS

from .source import ColumnsSource, Encoding, Limits, Patterns, limits_of, options_of

if TYPE_CHECKING:
    from millrace.data.sources.records import Item

    FormatName = str
else:
    FormatName = Literal[tuple(sorted(FORMATS))]


class FilesSource(ColumnsSource):
    """Files that patterns name, local or on any store that fsspec knows."""

    type: Literal["files"]
    paths: Patterns = Field(description="Patterns such as my/**/*.jsonl or s3://bucket/*.parquet.")
    format: FormatName | None = Field(
        default=None, description="Format of all files, when their names do not tell."
    )
    encoding: Encoding = "auto"
    delimiter: str | None = Field(
        default=None, pattern=r"^[^\"\r\n]$", description="Between fields of CSV; a comma, or a tab in .tsv."
    )
    records: Literal["auto", "text", "json", "example"] = Field(
        default="auto",
        description="Kind of records in ArrayRecord files; auto goes by the first record of each.",
    )
    html: Literal["main", "all"] = Field(
        default="main", description="Part of a page to extract: its main content, or all visible text."
    )
    max_ratio: float = Field(default=1000.0, ge=1.0, description="A file that inflates by more is malformed.")
    max_member_bytes: int = Field(
        default=2**36, ge=1, description="A member that inflates to more is malformed."
    )


def fingerprint(source: FilesSource) -> Any:
    """Addresses, sizes and modification times."""
    from millrace.data.sources import files

    return [list(entry) for entry in files.fingerprint(source.paths)]


def plan(source: FilesSource) -> Sequence[Any]:
    """Parts of about 12 MB."""
    from millrace.data.sources import files

    options = options_of(
        source,
        format=source.format,
        encoding=source.encoding,
        delimiter=source.delimiter,
        records=source.records,
        max_ratio=source.max_ratio,
        max_member_bytes=source.max_member_bytes,
        html=source.html,
    )
    return files.plan(source.paths, options)


def read(part: Any) -> Iterator[Item]:
    """The records of one part."""
    from millrace.data.sources import files

    return files.read(part)


def limits(source: FilesSource) -> Limits:
    """The documents that go on."""
    return limits_of(source)
