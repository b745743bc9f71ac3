"""TFDS datasets that are prepared on this machine: a split's records, read from its ArrayRecord files.

``tensorflow_datasets`` says which records of which files a split has (``train[:10%]``), and knows versions and file
names; records are read by ``formats.arrayrecord`` and ``tf_example``, thirty times as fast as ``as_data_source`` decodes
them, without TensorFlow. A document's address is its shard's, ``tfds://words/en/1.0.0/words-train.array_record-00000-of-00001``,
and its locator the record in it, so that ``train`` and a slice of it give the same ids on every machine.

Planning a run only looks at ``dataset_info.json`` and the files beside it, because importing the library takes half a
second.

References:
    TensorFlow Datasets, "Splits and slicing" (the slicing language) and "Loading tfds data without TensorFlow".
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .records import PART_BYTES, Item, Malformed, Options, SourceError, Where

MISSING = (
    "got a tfds source, but tensorflow-datasets is not installed; expected it: pip install 'millrace[tfds]'"
)
VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Slice:
    """Records of one shard.

    Attributes:
        shard: Its address, without the machine's folders.
        path: Where it is.
        first: The first record.
        end: The one after the last.
        size_bytes: Size of the whole shard.
    """

    shard: str
    path: str
    first: int
    end: int
    size_bytes: int

    @property
    def uri(self) -> str:
        """The address of these records: two sources may have different slices of a shard."""
        return f"{self.shard}[{self.first}:{self.end}]"


@dataclass(frozen=True)
class Part:
    """Slices that are read together, and how."""

    files: tuple[Slice, ...]
    options: Options


def find(name: str, data_dir: str) -> str:
    """The folder of a prepared dataset.

    Args:
        name: As TFDS has it: ``words``, ``words/en``, ``words/en:1.0.0``; the latest version without one.
        data_dir: Where datasets are prepared; ``~`` is the user's folder.

    Raises:
        SourceError: There is none, or several configurations could be meant.
    """
    top = os.path.expanduser(data_dir)
    path, _, version = name.partition(":")
    if ".." in path.split("/") or os.path.isabs(path):
        raise SourceError(
            f"got dataset name {name!r}, expected one such as words, words/en or words/en:1.0.0"
        )
    base = top
    for depth, part in enumerate(path.split("/")):
        if not os.path.isdir(os.path.join(base, part)):
            what = "dataset" if depth == 0 else f"configuration of {path.split('/')[0]}"
            raise SourceError(f"got no {what} {part!r} in {base}, expected {_one_of(part, _folders(base))}")
        base = os.path.join(base, part)
    versions = [one for one in _folders(base) if VERSION.fullmatch(one)]
    if not versions:
        raise SourceError(
            f"got dataset {path!r} without versions in {base}, expected a configuration: {_one_of('', _folders(base))}"
        )
    if version and version not in versions:
        raise SourceError(
            f"got version {version!r} of dataset {path!r}, expected {_one_of(version, versions)}"
        )
    chosen = version or max(versions, key=lambda one: tuple(map(int, one.split("."))))
    return os.path.join(base, chosen)


def _folders(path: str) -> list[str]:
    if not os.path.isdir(path):
        return []
    return sorted(
        entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")
    )


def _one_of(got: str, known: list[str]) -> str:
    close = difflib.get_close_matches(got, known, 1)
    words = (
        f"one of {', '.join(known[:20])}" if known else "one that `tfds build` has prepared: check data_dir"
    )
    return words + (f"; did you mean {close[0]!r}?" if close else "")


def _info(folder: str) -> Mapping[str, Any]:
    """The content of ``dataset_info.json``.

    Raises:
        SourceError: There is none, or its records are in no format that is read here.
    """
    path = os.path.join(folder, "dataset_info.json")
    try:
        with open(path, encoding="utf-8") as opened:
            info = json.load(opened)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"got {path} that cannot be read ({error}), expected what TFDS writes: build the dataset anew"
        ) from None
    kind = info.get("fileFormat", "tfrecord")
    if kind == "parquet":
        raise SourceError(
            f"got a dataset of Parquet files in {folder}, expected array_record: read them with type: files"
        )
    if kind != "array_record":
        raise SourceError(
            f"got a dataset in the file format {kind} in {folder}, expected array_record: tfds convert_format "
            f"--dataset_version_dir={folder} --out_file_format=array_record, or tfds build --file_format=array_record"
        )
    return dict(info)


def fingerprint(name: str, data_dir: str) -> list[Any]:
    """The fingerprint that shows changes of the dataset: its version, its description, sizes and times of its shards.

    Raises:
        SourceError: There is no such dataset.
    """
    folder = find(name, data_dir)
    info = _info(folder)
    digest = hashlib.blake2b(json.dumps(info, sort_keys=True).encode(), digest_size=16).hexdigest()
    shards = sorted(entry.name for entry in os.scandir(folder) if "array_record" in entry.name)
    states = [(shard, os.stat(os.path.join(folder, shard))) for shard in shards]
    return [os.path.basename(folder), digest, [[shard, at.st_size, at.st_mtime_ns] for shard, at in states]]


def plan(name: str, split: str, data_dir: str, options: Options) -> list[Part]:
    """Cuts a split into parts of about ``PART_BYTES``, in its order.

    Raises:
        SourceError: There is no such dataset or split, or the library is not installed.
    """
    folder = find(name, data_dir)
    _info(folder)
    try:
        import tensorflow_datasets
    except ImportError:
        raise SourceError(MISSING) from None
    builder = tensorflow_datasets.builder_from_directory(folder)
    _check_columns(builder.info.features, options, name)
    try:
        instructions = builder.info.splits[split].file_instructions
    except (ValueError, AssertionError) as error:
        raise SourceError(
            f"got split {split!r} of dataset {name}, expected one of {', '.join(sorted(builder.info.splits))}, or a slice "
            f"such as train[:10%]: {str(error).splitlines()[0]}"
        ) from None
    parts: list[Part] = []
    group: list[Slice] = []
    size = 0
    _check_overlap(instructions, split)
    for instruction in instructions:
        for piece, own in _slices(instruction, folder, data_dir):
            if group and size + own > PART_BYTES:
                parts.append(Part(tuple(group), replace(options, records="example")))
                group, size = [], 0
            group.append(piece)
            size += own
    if not group:
        raise SourceError(f"got no record in split {split!r} of dataset {name}, expected at least one")
    parts.append(Part(tuple(group), replace(options, records="example")))
    return parts


def _check_overlap(instructions: Sequence[Any], split: str) -> None:
    """Raises ``SourceError`` for a split that has a record twice."""
    ranges = sorted((str(one.filename), one.skip, one.skip + one.take) for one in instructions)
    for (file, _, end), (other, start, _) in itertools.pairwise(ranges):
        if file == other and start < end:
            raise SourceError(f"got split {split!r} with records twice, expected slices that do not overlap")


def _slices(instruction: Any, folder: str, data_dir: str) -> Iterator[tuple[Slice, int]]:
    """The records of a shard that a split has, in stretches of at most about ``PART_BYTES``, and about their size."""
    path = str(instruction.filename)
    try:
        size = os.stat(path).st_size
    except OSError:
        size = 0  # reading says so
    count = max(instruction.examples_in_shard, 1)
    step = max(1, count * PART_BYTES // max(size, 1))
    relative = os.path.relpath(folder, os.path.expanduser(data_dir)).replace(os.sep, "/")
    end = instruction.skip + instruction.take
    for first in range(instruction.skip, end, step):
        shard = f"tfds://{relative}/{os.path.basename(path)}"
        piece = Slice(shard, path, first, min(first + step, end), size)
        yield piece, size * (piece.end - first) // count


def _check_columns(features: Any, options: Options, name: str) -> None:
    """Raises ``SourceError`` for a column that the dataset lacks, before anything is read."""
    info = features.get_serialized_info()
    known = set(_names(info)) if isinstance(info, Mapping) else set()
    columns = options.columns
    for column in filter(None, (columns.text, columns.id, columns.language, columns.license)):
        if known and column not in known:
            raise SourceError(
                f"got no feature {column!r} in dataset {name}, expected {_one_of(column, sorted(known))}: set text_column "
                "and the like"
            )


def _names(features: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Names of features as examples have them: nested ones with a slash."""
    for name, value in features.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{before}{name}/")
        else:
            yield f"{before}{name}"


def read(part: Part) -> Iterator[Item]:
    """Streams the documents of one part.

    Raises:
        SourceError: The library is not installed.
    """
    from millrace.data.sources.formats.arrayrecord import open_reader, records

    for piece in part.files:
        reader, count = open_reader(piece.path)
        where = Where(piece.shard, piece.shard, piece.size_bytes)
        if reader is None or count < piece.end:
            problem = f"got a missing, truncated or corrupt shard with {count} records, expected {piece.end} or more"
            lost = range(piece.first, piece.end)
            for number in lost:
                yield Malformed(piece.shard, str(number), problem, 0)
            continue
        yield from records(reader, piece.first, piece.end, where, part.options)
        reader.close()
