"""The explicit registry of formats: the word a spec uses -> the function that reads it; imported only to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from millrace.data.sources.html import format as html
from millrace.data.sources.records import Item, Options, Where

from . import arrayrecord, arrow, csv, json_values, jsonl, parquet, text, warc

Reader = Callable[[Any, Where, Options], Iterator[Item]]

READERS: Mapping[str, Reader] = {
    "arrayrecord": arrayrecord.read,
    "arrow": arrow.read,
    "csv": csv.read,
    "html": html.read,
    "json": json_values.read,
    "jsonl": jsonl.read,
    "parquet": parquet.read,
    "text": text.read,
    "warc": warc.read,
}
