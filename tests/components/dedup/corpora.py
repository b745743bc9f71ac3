"""Small corpora for the tests of ``dedup``, and its decisions as Python values."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from millrace.data.documents import shards as documents

WORDS = [f"word{i}" for i in range(3_000)]


def write_corpus(folder: Path, rows: Sequence[str | Mapping[str, Any]], shards: int = 1) -> Path:
    """Writes documents of two sources in turns; a row is a text, or columns that differ from the usual."""
    folder.mkdir(parents=True)
    columns = {"lang": "", "locator": "", "metadata": "{}"}
    tables = [
        {
            **columns,
            "doc_id": documents.document_id(str(i), ""),
            "source": "ab"[i % 2],
            "uri": f"file{i}",
            **({"text": row} if isinstance(row, str) else row),
        }
        for i, row in enumerate(rows)
    ]
    size = max(-(-len(tables) // shards), 1)
    for index in range(shards):
        part = tables[index * size : (index + 1) * size]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


def text(seed: int, words: int = 200) -> str:
    """Random words."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def decisions_of(folder: Path) -> dict[str, dict[str, Any]]:
    """A decision by the document's id, its evidence read."""
    rows = [row for path in documents.shard_paths(folder) for row in pq.read_table(path).to_pylist()]
    return {row["doc_id"]: {**row, "evidence": json.loads(row["evidence"])} for row in rows}


def kept(folder: Path) -> list[str]:
    """Addresses of the documents of an artifact."""
    found: list[str] = pq.read_table(folder)["uri"].to_pylist()
    return found
