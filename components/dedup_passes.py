"""What the passes of ``dedup`` do to one shard or one partition of the shuffle; ``dedup.run`` puts them together.

They leave their results in the stage's work folder, as NumPy files that the next pass reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .shards import Tally, dump_tallies

PARTITIONS = 16


def sign(shingle_words: int, bands: int, rows: int, work: str, task: tuple[int, str]) -> int:
    """Digests, signatures and sizes of one shard's documents, into the work folder."""
    import numpy as np
    import pyarrow.parquet as pq

    from ..data import minhash, ngrams, normalise
    from ..data.filters.batch import from_arrow

    index, path = task
    batch = from_arrow(pq.read_table(path, columns=["text"])["text"])
    shingles = ngrams.grams(ngrams.words(batch), shingle_words, min_words=1)
    np.savez(
        f"{work}/signed-{index:05d}.npz",
        digests=normalise.exact_digests(batch),
        signatures=minhash.signatures(shingles, bands * rows),
        has_words=np.diff(shingles.offsets) > 0,
        sizes=np.diff(batch.offsets),
        bands=bands,
    )
    return len(batch)


def emit_bands(work: str, shard: int) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """One shard's band keys and the ranks they belong to, split by partition."""
    import numpy as np

    from ..data import minhash

    ranks = np.load(f"{work}/ranks-{shard:05d}.npy")
    with np.load(f"{work}/signed-{shard:05d}.npz") as signed:
        rows = np.flatnonzero((ranks >= 0) & signed["has_words"])
        signature = signed["signatures"][rows]
        bands = int(signed["bands"])
    keys = minhash.band_keys(signature, bands)
    owners = np.repeat(ranks[rows], bands)
    partitions = (keys.reshape(-1) % np.uint64(PARTITIONS)).astype(np.int64)
    for partition in range(PARTITIONS):
        own = partitions == partition
        if own.any():
            yield partition, (keys.reshape(-1)[own].tobytes(), owners[own].tobytes())


def find_meetings(work: str, group: tuple[int, Any]) -> None:
    """Writes the pairs of ranks that share a band key of one partition."""
    import numpy as np

    from ..data import minhash

    partition, columns = group
    batches = list(columns)
    keys = np.frombuffer(b"".join(keys for keys, _ in batches), np.uint64)
    ranks = np.frombuffer(b"".join(ranks for _, ranks in batches), np.int64)
    np.save(f"{work}/met-{partition:05d}.npy", minhash.meetings(keys, ranks))


def shingle(shingle_words: int, work: str, task: tuple[int, str, list[int]]) -> None:
    """The distinct shingles of some documents of one shard."""
    import numpy as np
    import pyarrow.parquet as pq

    from ..data import ngrams
    from ..data.filters.batch import from_arrow

    index, path, rows = task
    texts = pq.read_table(path, columns=["text"])["text"].take(rows)
    found = ngrams.grams(ngrams.words(from_arrow(texts)), shingle_words, min_words=1)
    sets = [
        np.unique(found.hashes[first:end])
        for first, end in zip(found.offsets[:-1], found.offsets[1:], strict=True)
    ]
    np.savez(
        f"{work}/shingles-{index:05d}.npz", lengths=[len(s) for s in sets], shingles=np.concatenate(sets)
    )


def write(work: str, folders: tuple[str, str], task: tuple[int, str]) -> dict[str, Any]:
    """Writes one shard's survivors and decisions; returns its tallies."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from ..data.documents import decisions_table, shard_name, write_shard

    index, path = task
    found = json.loads(Path(f"{work}/evidence-{index:05d}.json").read_bytes())
    table = pq.read_table(path)
    tallies: dict[str, Tally] = {}
    decisions, keep = [], []
    sizes = pc.binary_length(table["text"]).to_pylist()
    for row, (doc_id, source, size) in enumerate(
        zip(table["doc_id"].to_pylist(), table["source"].to_pylist(), sizes, strict=True)
    ):
        evidence = found.get(str(row), {})
        tally = tallies.setdefault(source, Tally())
        kept = "survivor" not in evidence
        if kept:
            rule = "survivor" if evidence else "unique"
            tally.keep(size)
        else:
            rule = "exact" if evidence.pop("exact") else "near"
            tally.drop(rule, size)
        keep.append(kept)
        decisions.append(
            {
                "doc_id": doc_id,
                "source": source,
                "action": "keep" if kept else "drop",
                "rule": rule,
                "score": evidence.get("similarity"),
                "evidence": json.dumps(evidence, sort_keys=True),
                "bytes_before": size,
                "bytes_after": size if kept else 0,
            }
        )
    write_shard(Path(folders[0]) / shard_name(index), table.filter(pa.array(keep, pa.bool_())))
    write_shard(Path(folders[1]) / shard_name(index), decisions_table(decisions))
    return dump_tallies(tallies)
