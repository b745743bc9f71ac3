"""The first pass of ``decontaminate``: a sample of documents that says what is common, and that plants are put into."""

from __future__ import annotations

from pathlib import Path

SAMPLE_BYTES = 16_384  # of one document


def take_sample(work: str, share: float, seed: int, task: tuple[int, str]) -> int:
    """Writes one shard's documents of the sample; returns how many."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ...data.contamination.sample import is_chosen
    from ...data.filters.batch import from_arrow

    number, path = task
    ids = pq.read_table(path, columns=["doc_id"])["doc_id"]
    is_taken = pa.array(is_chosen(from_arrow(ids), share, seed))
    texts = pq.read_table(path, columns=["text"])["text"] if is_taken.true_count else ids
    batch = from_arrow(texts.filter(is_taken))
    starts = batch.offsets[:-1]
    ends = np.minimum(batch.offsets[1:], starts + SAMPLE_BYTES)
    beginnings = [
        batch.data[start:end].tobytes().decode(errors="ignore")
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    pq.write_table(
        pa.table({"doc_id": ids.filter(is_taken), "text": pa.array(beginnings, pa.string())}),
        _path(Path(work), number),
    )
    return len(beginnings)


def read_sample(work: Path, shards: int) -> list[str]:
    """The beginnings of the sample's documents, in the order of their ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(_path(work, number)) for number in range(shards)]
    texts: list[str] = pa.concat_tables(tables).sort_by("doc_id")["text"].to_pylist()
    return texts


def _path(work: Path, number: int) -> Path:
    return work / f"sample-{number:05d}.parquet"
