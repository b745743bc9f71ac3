"""The source ``huggingface``: a dataset on the Hub, a folder that ``save_to_disk`` made, or a local cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from .source import ColumnsSource, Encoding, Limits, Patterns, limits_of, options_of

if TYPE_CHECKING:
    from millrace.data.sources.huggingface import Dataset
    from millrace.data.sources.records import Item


class HuggingfaceSource(ColumnsSource):
    """A dataset on the Hub (pip install 'millrace[huggingface]'), or a local one of the datasets library."""

    type: Literal["huggingface"]
    path: str = Field(
        min_length=1, description="owner/name on the Hub; or a folder of save_to_disk, the cache or a clone."
    )
    name: str | None = Field(
        default=None, description="Configuration, such as en; the only or default one without."
    )
    split: str = Field(default="train", min_length=1, description="Split.")
    revision: str = Field(
        default="main", min_length=1, description="Branch, tag or commit; a commit never changes."
    )
    data_files: Patterns | None = Field(
        default=None,
        description="Files such as data/*.parquet, where names and card do not tell the split's.",
    )
    encoding: Encoding = "auto"


def _dataset(source: HuggingfaceSource) -> Dataset:
    from millrace.data.sources import huggingface

    return huggingface.Dataset(
        source.path, source.name, source.split, source.revision, source.data_files or ()
    )


def fingerprint(source: HuggingfaceSource) -> Any:
    """The commit on the Hub, or names, sizes and modification times of local files."""
    from millrace.data.sources import huggingface

    return huggingface.fingerprint(_dataset(source))


def plan(source: HuggingfaceSource) -> Sequence[Any]:
    """Parts of about 12 MB."""
    from millrace.data.sources import huggingface

    return huggingface.plan(_dataset(source), options_of(source, encoding=source.encoding))


def read(part: Any) -> Iterator[Item]:
    """The records of one part."""
    from millrace.data.sources import huggingface

    return huggingface.read(part)


def limits(source: HuggingfaceSource) -> Limits:
    """The documents that go on."""
    return limits_of(source)
