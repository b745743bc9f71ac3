"""The source ``files``: files that patterns name, in every format of ``data.sources.formats``."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from .source import CorpusSource, Limits, Patterns, limits_of

if TYPE_CHECKING:
    from ...data.sources.records import Item


def _is_encoding(value: str) -> str:
    if value != "auto":
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"got encoding {value!r}, expected auto or one that Python knows") from None
    return value


class FilesSource(CorpusSource):
    """Files that patterns name, local or on any store that fsspec knows."""

    type: Literal["files"]
    paths: Patterns = Field(description="Patterns such as my/**/*.jsonl or s3://bucket/*.parquet.")
    format: Literal["arrow", "csv", "json", "jsonl", "parquet", "text"] | None = Field(
        None, description="Format of all files, when their names do not tell."
    )
    encoding: Annotated[str, AfterValidator(_is_encoding)] = Field(
        "auto", description="Of text; auto finds it where it is not UTF-8."
    )
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, description="Between fields of CSV; a comma, or a tab in .tsv."
    )
    max_ratio: float = Field(1000.0, ge=1.0, description="What inflates by more is malformed.")
    max_member_bytes: int = Field(2**36, ge=1, description="What inflates to more is malformed.")
    text_column: str = Field("text", description="Key or column of the text.")
    id_column: str | None = Field(None, description="Key or column of the user's own ids.")
    language_column: str | None = Field(None, description="Key or column of the language tag.")
    license_column: str | None = Field(None, description="Key or column of the licence.")
    metadata_columns: tuple[str, ...] = Field(
        ("license",), description="Copied into the documents' metadata."
    )


def fingerprint(source: FilesSource) -> Any:
    """Addresses, sizes and modification times."""
    from ...data.sources import files

    return [list(entry) for entry in files.fingerprint(source.paths)]


def plan(source: FilesSource) -> Sequence[Any]:
    """Parts of about 12 MB."""
    from ...data.sources import files
    from ...data.sources.records import Columns, Options

    columns = Columns(
        source.text_column,
        source.id_column,
        source.language_column,
        source.license_column,
        source.metadata_columns,
    )
    options = Options(
        columns=columns,
        default_language=source.language,
        default_license=source.license,
        max_document_bytes=source.max_document_bytes,
        format=source.format,
        encoding=source.encoding,
        delimiter=source.delimiter,
        max_ratio=source.max_ratio,
        max_member_bytes=source.max_member_bytes,
    )
    return files.plan(source.paths, options)


def read(part: Any) -> Iterator[Item]:
    """The records of one part."""
    from ...data.sources import files

    return files.read(part)


def limits(source: FilesSource) -> Limits:
    """Which documents go on."""
    return limits_of(source, has_own_ids=source.id_column is not None)
