"""The source ``python_environment``: the standard library and Millrace's installed dependencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from millrace.components.contract import Config

from .source import DocumentBytes, Limits

if TYPE_CHECKING:
    from millrace.data.sources.records import Item


class PythonEnvironmentSource(Config):
    """Source files, documentation or licences of the standard library and of Millrace's installed dependencies."""

    type: Literal["python_environment"] = "python_environment"
    content: Literal["code", "docs", "licences"] = Field(description="Kind of their files to read.")
    held_out: tuple[str, ...] = Field(default=(), description="Distributions that go to the held_out port.")
    include: tuple[str, ...] | None = Field(
        default=None, description="Only these distributions; python is the library."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Distributions that are left out.")
    max_bytes: int | None = Field(default=None, ge=1, description="Sample at most this many bytes of files.")
    max_document_bytes: DocumentBytes = Field(default=12 * 2**20, description="A larger file is malformed.")


def fingerprint(source: PythonEnvironmentSource) -> Any:
    """Names, versions and digests of RECORD."""
    from millrace.data.sources import python_environment

    return list(python_environment.fingerprint())


def plan(source: PythonEnvironmentSource) -> Sequence[Any]:
    """Parts of about 12 MB."""
    from millrace.data.sources import python_environment

    return python_environment.plan(
        source.content,
        held_out=source.held_out,
        include=source.include,
        exclude=source.exclude,
        max_bytes=source.max_bytes,
        max_document_bytes=source.max_document_bytes,
    )


def read(part: Any) -> Iterator[Item]:
    """The records of one part."""
    from millrace.data.sources import python_environment

    return python_environment.read(part)


def limits(source: PythonEnvironmentSource) -> Limits:
    """Every document goes on: distributions are held out as a whole, and the sample is one of files."""
    return Limits()
