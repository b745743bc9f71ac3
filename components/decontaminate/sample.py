"""The first pass of ``decontaminate``: a sample of documents, for word frequencies and to plant examples in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.data.documents.choosing import is_chosen
from millrace.data.documents.shards import read_shard
from millrace.data.text.batch import from_arrow

SAMPLE_BYTES = 16_384  # of one document


def take_sample(work: str, share: float, seed: int, task: tuple[int, str]) -> int:
    """Writes one shard's documents of the sample; returns how many."""
    number, path = task
    table = read_shard(path, ["doc_id", "text"])
    chosen = np.array(
        [row for row, doc_id in enumerate(table["doc_id"].to_pylist()) if is_chosen(share, seed, doc_id)],
        np.int64,
    )
    texts = from_arrow(table["text"])
    starts = texts.offsets[chosen]
    ends = np.minimum(texts.offsets[chosen + 1], starts + SAMPLE_BYTES)
    beginnings = [
        texts.data[start:end].tobytes().decode(errors="ignore")
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    sample = pa.table({"doc_id": table["doc_id"].take(chosen), "text": pa.array(beginnings, pa.string())})
    with pa.ipc.new_file(_path(Path(work), number), sample.schema) as file:
        file.write(sample)
    return len(beginnings)


def read_sample(work: Path, shards: int) -> list[str]:
    """The beginnings of the sample's documents, in the order of their ids."""
    tables = []
    for number in range(shards):
        with pa.ipc.open_file(_path(work, number)) as file:
            tables.append(file.read_all())
    texts: list[str] = pa.concat_tables(tables).sort_by("doc_id")["text"].to_pylist()
    return texts


def _path(work: Path, number: int) -> Path:
    return work / f"sample-{number:05d}.arrow"
