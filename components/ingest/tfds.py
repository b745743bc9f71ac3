"""The source ``tfds``: a split of a dataset that TensorFlow Datasets has prepared on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from .source import ColumnsSource, Limits, limits_of, options_of

if TYPE_CHECKING:
    from millrace.data.sources.records import Item


class TfdsSource(ColumnsSource):
    """A split of a prepared TFDS dataset in ArrayRecord files (pip install 'millrace[tfds]'; no TensorFlow).

    Columns are features; nested ones have a slash (meta/url).
    """

    type: Literal["tfds"]
    name: str = Field(min_length=1, description="Such as words, words/en or words/en:1.0.0.")
    split: str = Field(
        default="train", min_length=1, description="Such as train, or slices: train[:10%]+test."
    )
    data_dir: str = Field(
        default="~/tensorflow_datasets", min_length=1, description="Where datasets are prepared."
    )


def fingerprint(source: TfdsSource) -> Any:
    """Version, description, and sizes and modification times of the shards."""
    from millrace.data.sources import tfds

    return tfds.fingerprint(source.name, source.data_dir)


def plan(source: TfdsSource) -> Sequence[Any]:
    """Parts of about 12 MB."""
    from millrace.data.sources import tfds

    return tfds.plan(source.name, source.split, source.data_dir, options_of(source))


def read(part: Any) -> Iterator[Item]:
    """The records of one part."""
    from millrace.data.sources import tfds

    return tfds.read(part)


def limits(source: TfdsSource) -> Limits:
    """The documents that go on."""
    return limits_of(source)
