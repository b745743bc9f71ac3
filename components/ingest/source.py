"""The parts of every type of source: its configuration, and four functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

from pydantic import AfterValidator, BeforeValidator, Field

from millrace.components.contract import Config

if TYPE_CHECKING:
    from millrace.data.sources.records import Item, Options


def _is_encoding(value: str) -> str:
    if value != "auto":
        try:
            "".encode(value)
        except (LookupError, UnicodeError):  # none of that name, or one that is not of text, such as base64
            raise ValueError(
                f"got encoding {value!r}, expected auto or one that Python knows for text"
            ) from None
    return value


Patterns = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
]
DocumentBytes = Annotated[int, Field(ge=1, le=2**30)]
Encoding = Annotated[
    str, AfterValidator(_is_encoding), Field(description="Of text; auto finds it where it is not UTF-8.")
]


class Limits(NamedTuple):
    """The documents of a source that go on, and their destination.

    Attributes:
        held_out_fraction: Share of documents that are kept out of training, by the hash of their ids.
        sample_fraction: Share of documents that are taken at all, likewise.
        max_documents: At most this many documents, the first in the source's order; None: all.
        max_bytes: At most this many UTF-8 bytes of text, likewise.
        has_own_ids: Whether documents have ids that the source's user gave them, which may repeat.
    """

    held_out_fraction: float = 0.0
    sample_fraction: float = 1.0
    max_documents: int | None = None
    max_bytes: int | None = None
    has_own_ids: bool = False


class SourceType(Protocol):
    """How a type of source is read: the functions that its module has beside its configuration."""

    @property
    def fingerprint(self) -> Callable[[Any], Any]:
        """Configuration -> JSON value that changes when the source does; fast, from names and sizes."""
        ...

    @property
    def plan(self) -> Callable[[Any], Sequence[Any]]:
        """Configuration -> parts in the source's order, whatever the number of workers.

        Each is a picklable value with ``files``, of which each has a ``uri``.
        """
        ...

    @property
    def read(self) -> Callable[[Any], Iterator[Item]]:
        """Part -> its records, as ``data.sources.records`` has them."""
        ...

    @property
    def limits(self) -> Callable[[Any], Limits]:
        """Configuration -> which of the documents go on."""
        ...


class CorpusSource(Config):
    """Fields of every source of a user's documents: how many, which share is held out, under which licence."""

    language: str = Field(default="en", description="Language tag of documents that name none.")
    license: str | None = Field(
        default=None, description="Licence of documents that name none, for their metadata."
    )
    held_out_fraction: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of documents kept out of training."
    )
    sample_fraction: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of documents to take, by the hash of their ids."
    )
    max_documents: int | None = Field(
        default=None, ge=1, description="Take at most this many documents, the first in order."
    )
    max_bytes: int | None = Field(
        default=None, ge=1, description="Take at most this many bytes of text, likewise."
    )
    max_document_bytes: DocumentBytes = Field(
        default=12 * 2**20, description="A larger file, line or value is malformed."
    )


class ColumnsSource(CorpusSource):
    """Fields of every source whose records have named values."""

    text_column: str = Field(default="text", description="Key or column of the text.")
    id_column: str | None = Field(default=None, description="Key or column of the user's own ids.")
    language_column: str | None = Field(default=None, description="Key or column of the language tag.")
    license_column: str | None = Field(default=None, description="Key or column of the licence.")
    metadata_columns: tuple[str, ...] = Field(
        default=("license",), description="Copied into the documents' metadata."
    )


def options_of(source: CorpusSource, **others: Any) -> Options:
    """How a source's files are read, as ``data.sources`` takes it.

    Args:
        source: The source.
        others: Fields of ``Options`` that only its type has.
    """
    from millrace.data.sources.records import Columns, Options

    if isinstance(source, ColumnsSource):
        others["columns"] = Columns(
            source.text_column,
            source.id_column,
            source.language_column,
            source.license_column,
            source.metadata_columns,
        )
    return Options(
        default_language=source.language,
        default_license=source.license,
        max_document_bytes=source.max_document_bytes,
        **others,
    )


def limits_of(source: CorpusSource) -> Limits:
    """The limits of a source of documents."""
    has_own_ids = isinstance(source, ColumnsSource) and source.id_column is not None
    return Limits(
        source.held_out_fraction, source.sample_fraction, source.max_documents, source.max_bytes, has_own_ids
    )
