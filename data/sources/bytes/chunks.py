"""Turns the records of a source's reader into tables of some hundred kilobytes, with ids.

Batches pass unchanged; single records are gathered first. Malformed records keep their place among the documents.
A record of any reader with a string that UTF-8 cannot write becomes malformed here, so that no later stage meets one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.documents.ids import document_ids
from millrace.data.documents.shards import DOCUMENTS, document_id
from millrace.data.sources.records import Batch, Item, Malformed, Record
from millrace.data.sources.tables.rows import is_unicode

GATHERED_BYTES = 1 << 20
GATHERED_ITEMS = 4096


class Chunk(NamedTuple):
    """Some records in their order.

    Attributes:
        documents: A table of ``DOCUMENTS``.
        sizes: UTF-8 bytes of each text, int64 [documents].
        is_held_out: Whether the source itself keeps each document out of training, bool [documents].
        malformed: Malformed records, each with the number of the chunk's documents before it.
    """

    documents: Any
    sizes: np.ndarray
    is_held_out: np.ndarray
    malformed: list[tuple[int, Malformed]]


def chunks(items: Iterable[Item], source: str) -> Iterator[Chunk]:
    """Gathers what a reader yields.

    Args:
        items: In the source's order.
        source: Its name, for the column.
    """
    rows: list[Record] = []
    malformed: list[tuple[int, Malformed]] = []
    held_bytes = 0
    for item in map(_unicode, items):
        if isinstance(item, Malformed):
            malformed.append((len(rows), item))
        elif isinstance(item, Record):
            rows.append(item)
            held_bytes += len(item.text)
        if (
            isinstance(item, Batch)
            or held_bytes > GATHERED_BYTES
            or len(rows) + len(malformed) > GATHERED_ITEMS
        ):
            if rows or malformed:
                yield _of_records(rows, malformed, source)
                rows, malformed, held_bytes = [], [], 0
            if isinstance(item, Batch) and len(item.texts):
                yield _of_batch(item, source)
    if rows or malformed:
        yield _of_records(rows, malformed, source)


def _unicode(item: Item) -> Item:
    """The item; a record with half of a surrogate pair as malformed, and a malformed one with escapes for them."""
    if isinstance(item, Record) and not is_unicode(
        (item.uri, item.locator, item.key, item.text, item.lang, item.metadata)
    ):
        problem = "got half of a surrogate pair in its name, text or metadata, expected Unicode text"
        size = len(item.text.encode("utf-8", "surrogatepass"))
        item = Malformed(item.uri, item.locator, problem, size)
    if isinstance(item, Malformed) and not is_unicode((item.uri, item.locator, item.problem)):
        return replace(
            item, uri=_escaped(item.uri), locator=_escaped(item.locator), problem=_escaped(item.problem)
        )
    return item


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _of_records(rows: list[Record], malformed: list[tuple[int, Malformed]], source: str) -> Chunk:
    columns = {
        "doc_id": [document_id(row.uri, row.key) for row in rows],
        "text": [row.text for row in rows],
        "source": [source] * len(rows),
        "lang": [row.lang for row in rows],
        "uri": [row.uri for row in rows],
        "locator": [row.locator for row in rows],
        "metadata": [json.dumps(row.metadata, sort_keys=True) if row.metadata else "{}" for row in rows],
    }
    table = pa.table(columns, schema=DOCUMENTS)
    return Chunk(table, _sizes(table), np.array([row.held_out for row in rows], bool), malformed)


def _of_batch(batch: Batch, source: str) -> Chunk:
    count = len(batch.texts)
    keys = batch.locators if batch.keys is None else batch.keys
    table = pa.table(
        [
            document_ids(batch.uri, keys),
            batch.texts,
            _column(source, count),
            _column(batch.lang, count),
            _column(batch.uri, count),
            batch.locators,
            _column(batch.metadata, count),
        ],
        schema=DOCUMENTS,
    )
    return Chunk(table, _sizes(table), np.zeros(count, bool), [])


def _column(values: Any, count: int) -> Any:
    return pa.repeat(pa.scalar(values), count) if isinstance(values, str) else values


def _sizes(table: Any) -> np.ndarray:
    return np.asarray(pc.binary_length(table["text"])).astype(np.int64)


def hash_fractions(doc_ids: Any, first_digit: int) -> np.ndarray:
    """Numbers in [0, 1) that eight hex digits of each id say, float64 [documents].

    Args:
        doc_ids: pyarrow string array [documents] of ids of 32 hex digits.
        first_digit: The first of the eight; digits apart are independent choices.
    """
    digits = pc.utf8_slice_codeunits(doc_ids, first_digit, first_digit + 8)
    data = np.frombuffer("".join(digits.to_pylist()).encode(), np.uint8).reshape(-1, 8).astype(np.int64)
    values = np.where(data >= ord("a"), data - ord("a") + 10, data - ord("0"))
    return (values * 16 ** np.arange(7, -1, -1, dtype=np.int64)).sum(1) / 2.0**32
