"""Reading a file of a test as the stage does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from millrace.data.sources import files
from millrace.data.sources.records import Batch, Malformed, Options, Record


def contents(path: Path, **options: Any) -> tuple[list[str], list[str]]:
    """Texts, and the problems with their files' names inside the folder or archive before them."""
    found: list[str] = []
    problems: list[str] = []
    for part in files.plan([str(path)], Options(**options)):
        for item in files.read(part):
            if isinstance(item, Malformed):
                problems.append(f"{item.rule} {item.uri.split('!/')[-1]}: {item.problem}")
            else:
                found += [item.text] if isinstance(item, Record) else item.texts.to_pylist()
    return found, problems


def ranges(path: Path, size: int) -> tuple[list[str], int]:
    """The texts of a file that is read in ranges of so many bytes, and how many ranges there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PART_BYTES", size)
        parts = files.plan([str(path)], Options())
    items = [item for part in parts for item in files.read(part)]
    assert all(isinstance(item, Batch) for item in items)
    found = [text for item in items if isinstance(item, Batch) for text in item.texts.to_pylist()]
    locators = [place for item in items if isinstance(item, Batch) for place in item.locators.to_pylist()]
    assert len(set(locators)) == len(locators)
    return found, len(parts)


def read(pattern: Path | str, **options: Any) -> list[Record | Malformed]:
    """All records of files, those of batches as well, and what is malformed."""
    found = (item for part in files.plan([str(pattern)], Options(**options)) for item in files.read(part))
    return [record for item in found for record in (records_of(item) if isinstance(item, Batch) else [item])]


def records_of(batch: Batch) -> list[Record]:
    """A batch's rows as records."""

    def column(values: Any) -> list[str]:
        return [values] * len(batch.texts) if isinstance(values, str) else values.to_pylist()

    locators = column(batch.locators)
    keys = locators if batch.keys is None else column(batch.keys)
    rows = zip(locators, keys, column(batch.texts), column(batch.lang), column(batch.metadata), strict=True)
    return [
        Record(batch.uri, locator, key, text, lang, json.loads(metadata))
        for locator, key, text, lang, metadata in rows
    ]


def problems(found: Sequence[Record | Malformed]) -> list[tuple[str, str]]:
    """Locator and problem of all that is malformed."""
    return [(record.locator, record.problem) for record in found if isinstance(record, Malformed)]


def texts_of(found: Sequence[Record | Malformed]) -> list[str]:
    """The texts of the records."""
    return [record.text for record in found if isinstance(record, Record)]
