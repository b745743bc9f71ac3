"""The last pass of dedup: who stands for what was dropped, in words, across shards and earlier corpora."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.components.dedup import write
from millrace.components.dedup.corpus import Clusters, Corpus
from millrace.data.documents import catalogue
from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard

TEXTS = ["earlier copy", "stays alone", "Earlier  Copy", "a near one", "a nearer one", "the same address"]
IDS = [document_id(str(at), "") for at in range(6)]
EARLIER = 1
SHARDS = [[0], [1, 2, 3], [4, 5]]  # the first is of an earlier corpus


def corpus() -> Corpus:
    nodes = np.arange(6)
    nothing: Any = np.zeros(6, np.int64)
    return Corpus(
        earlier=EARLIER,
        bases=np.array([0, 1, 4, 6]),
        labels=("old", "", ""),
        nodes=nodes,
        places=nodes,
        representative=np.array([0, 1, 0, 3, 4, 5]),
        urls=nothing,
        preference=nothing,
        sources=nothing,
        source_names=("s",),
        shingles=nothing,
    )


def clusters() -> Clusters:
    """2 is the text of 0; 3 is near to 4 through 5, which only has 4's address."""
    return Clusters(
        labels=np.array([0, 1, 0, 3, 3, 3]),
        sizes=np.array([1, 1, 1, 3, 3, 3]),
        survivor=np.array([0, 1, 0, 4, 4, 4]),
        dropped=np.array([2, 3, 5]),
        similarity=np.array([1.0, 0.5, np.nan]),
        is_text=np.array([True, True, False]),
        via=np.array([-1, 5, -1]),
        via_similarity=np.array([0.0, 0.9, 0.0]),
        pairs_met=3,
        pairs_similar=2,
    )


def rows_of(shard: list[int]) -> Any:
    return documents_table(
        [
            {"doc_id": IDS[at], "text": TEXTS[at], "source": "s", "uri": f"made://{at}"}
            | {"lang": "en", "locator": "", "metadata": "{}"}
            for at in shard
        ]
    )


def test_every_document_of_a_cluster_says_its_part(tmp_path: Path) -> None:
    folders = (str(tmp_path / "documents"), str(tmp_path / "decisions"))
    for folder in folders:
        Path(folder).mkdir()
    parts = []
    for number, shard in enumerate(SHARDS):
        table = rows_of(shard)
        catalogue.write_names(tmp_path / f"names-{number:05d}", table["doc_id"], table["uri"])
        write_shard(tmp_path / shard_name(number), table)
        parts.append(tmp_path / f"names-{number:05d}")
    np.save(tmp_path / "bases.npy", catalogue.join_names(parts, tmp_path / "names"))
    write.plan(corpus(), clusters(), tmp_path, [{"nodes": [3, 4]}])
    told = [write.decide(str(tmp_path), folders, (n, str(tmp_path / shard_name(n)))) for n in (1, 2)]

    names = [shard_name(n) for n in (1, 2)]
    kept = pa.concat_tables([pq.read_table(Path(folders[0]) / name) for name in names])["text"].to_pylist()
    decided = pa.concat_tables([pq.read_table(Path(folders[1]) / name) for name in names]).to_pylist()
    assert kept == ["stays alone", "a nearer one"]
    assert [row["rule"] for row in decided] == ["unique", "exact", "near", "survivor", "url"]
    evidence = [json.loads(row["evidence"] or "{}") for row in decided]
    assert evidence[1] == {
        "cluster": IDS[0],
        "survivor": IDS[0],
        "survivor_uri": "made://0",
        "against": "old",
        "similarity": 1.0,
    }
    assert evidence[2]["via"] == {"doc_id": IDS[5], "uri": "made://5", "similarity": 0.9}
    assert (evidence[2]["survivor"], evidence[2]["similarity"]) == (IDS[4], 0.5)
    assert evidence[3] == {"cluster": IDS[3], "copies": 2}
    assert "similarity" not in evidence[4]
    assert {**told[0]["quotes"], **told[1]["quotes"]} == {"3": "a near one", "4": "a nearer one"}
