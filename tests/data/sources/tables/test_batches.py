"""Record batches are the documents that their rows are one by one, whatever Arrow's types."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from millrace.data.sources.records import (
    Batch,
    Columns,
    ColumnsError,
    Item,
    Malformed,
    Options,
    Record,
    Where,
)
from millrace.data.sources.tables.batches import batch_items, wanted_columns
from millrace.data.sources.tables.rows import record_of

WHERE = Where("a", "a", 0)
TEXTS = ["one", "", "two é", " \u3000", None, "x" * 50, "three"]
KEYS = ["a", "b", "c", "d", "e", "f", None]


def documents(items: list[Item]) -> list[tuple[Any, ...]]:
    """Locator, key, text, language and metadata of the documents; of what is malformed locator and rule."""
    found: list[tuple[Any, ...]] = []
    for item in items:
        if isinstance(item, Malformed):
            found.append((item.locator, item.rule))
        elif isinstance(item, Record):
            found.append((item.locator, item.key, item.text, item.lang, dict(item.metadata)))
        else:
            assert isinstance(item, Batch)
            count = len(item.texts)
            columns = [
                [values] * count if isinstance(values, str) else values.to_pylist()
                for values in (item.locators, item.locators if item.keys is None else item.keys)
            ]
            rest = [
                [values] * count if isinstance(values, str) else values.to_pylist()
                for values in (item.texts, item.lang, item.metadata)
            ]
            found += [(*row[:4], json.loads(row[4])) for row in zip(*columns, *rest, strict=True)]
    return sorted(found, key=lambda row: int(row[0]))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
@pytest.mark.parametrize("keys", [KEYS, [1, 2, 3, 4, 5, 6, None], [b"a"] * 7, [1.5] * 7])
def test_a_batch_is_its_rows(kind: Any, keys: list[Any]) -> None:
    """With ids that are strings, numbers or neither; blank, missing and long texts cost only their row."""
    options = Options(
        columns=Columns(id="key", language="lang", license="rights", metadata=("n", "s")),
        max_document_bytes=40,
        default_language="de",
    )
    rows = [
        {
            "text": text,
            "key": key,
            "lang": [None, "fr", ""][at % 3],
            "rights": "MIT" if at % 2 else None,
            "n": at,
            "s": 'q"é',
        }
        for at, (text, key) in enumerate(zip(TEXTS, keys, strict=True))
    ]
    batch = pa.RecordBatch.from_pylist(rows)
    batch = batch.set_column(0, "text", pa.array(TEXTS, pa.string()).cast(kind))
    expected: list[Item] = []
    for at, row in enumerate(rows):
        long = len((row["text"] or "").encode()) > 40
        item = (
            Malformed("a", str(10 + at), "long", 0)
            if long
            else record_of(row, WHERE, options, str(10 + at), "", 0)
        )
        expected.append(item)
    assert documents(list(batch_items(batch, 10, WHERE, options))) == documents(expected)


def test_wanted_columns_are_those_that_are_named_in_the_order_of_the_file() -> None:
    schema = pa.schema([("z", pa.int8()), ("lang", pa.string()), ("text", pa.string()), ("m", pa.string())])
    options = Options(columns=Columns(language="lang", metadata=("m", "absent")))
    assert wanted_columns(schema, WHERE, options) == ["lang", "text", "m"]
    with pytest.raises(ColumnsError, match="got columns z, lang, text, m in a, expected a column 'id'"):
        wanted_columns(schema, WHERE, Options(columns=Columns(id="id")))
    with pytest.raises(ColumnsError, match="got type int8 in column 'z'"):
        wanted_columns(schema, WHERE, Options(columns=Columns(text="z")))
