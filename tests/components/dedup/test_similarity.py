"""Similarities of documents that met: true ones of their shingles, estimates of their sketches, in any order."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millrace.components.dedup import similarity as pass_similarity
from millrace.components.dedup.config import DedupConfig
from millrace.components.dedup.corpus import Corpus
from millrace.components.dedup.similarity import Similarity
from millrace.data.dedup import similarity
from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard
from millrace.pipelines.stages.context import StageContext

BASE = [f"word{number}" for number in range(40)]
TEXTS = [" ".join(BASE), " ".join([*BASE[:39], "other"]), "nothing of that kind", " ".join(BASE[:20])]
CUTS = [[0, 1], [2], [3]]  # texts of each shard
SHINGLE = 3


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + SHINGLE]) for at in range(max(len(words) - SHINGLE + 1, 1))}


def jaccard(one: int, other: int) -> float:
    a, b = shingles(TEXTS[one]), shingles(TEXTS[other])
    return len(a & b) / len(a | b)


@pytest.fixture
def corpus() -> Corpus:
    """Nodes are numbered against the order of places."""
    nodes = np.array([3, 2, 1, 0])
    counts = np.array([len(TEXTS[at].split()) - SHINGLE + 1 for at in range(4)])
    nothing: Any = np.zeros(4, np.int64)
    return Corpus(
        earlier=0,
        bases=np.array([0, 2, 3, 4]),
        labels=("", "", ""),
        nodes=nodes,
        places=np.argsort(nodes),
        representative=np.arange(4),
        urls=nothing,
        preference=nothing,
        sources=nothing,
        source_names=("s",),
        shingles=counts[np.argsort(nodes)],
    )


def made(corpus: Corpus, folder: Path, *, verify: bool) -> Similarity:
    tasks = []
    for number, own in enumerate(CUTS):
        rows = [
            {"doc_id": document_id(str(at), ""), "text": TEXTS[at], "source": "s", "uri": str(at)}
            | {"lang": "en", "locator": "", "metadata": "{}"}
            for at in own
        ]
        path = folder / shard_name(number)
        write_shard(path, documents_table(rows))
        tasks.append((number, str(path)))
    context = StageContext(
        seed=0, work=folder, outputs={}, emit=lambda event: None, log=logging.getLogger("dedup"), lineage=()
    )
    config = DedupConfig(verify=verify, shingle_words=SHINGLE)
    return Similarity(context, config, corpus, folder, tasks, np.arange(4))


@pytest.mark.parametrize("chunk", [1, 3, 1 << 15])
def test_true_similarities_are_those_of_the_sets(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(pass_similarity, "PAIRS", chunk)
    asked = made(corpus, tmp_path, verify=True)
    pairs = np.array([[one, other] for one in range(4) for other in range(4) if one != other])
    expected = [jaccard(int(corpus.places[one]), int(corpus.places[other])) for one, other in pairs]
    np.testing.assert_allclose(asked.of(pairs), expected)
    assert 0.5 < max(expected) < 1
    asked.close()


@pytest.mark.parametrize("chunk", [1, 1 << 17])
def test_estimates_are_those_of_the_sketches(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(pass_similarity, "SKETCHES", chunk)
    sketches = np.random.default_rng(0).integers(0, 3, (4, 64), dtype=np.uint8)
    for number, own in enumerate(CUTS):
        np.save(tmp_path / f"sketches-{number:05d}.npy", sketches[own])
    asked = made(corpus, tmp_path, verify=False)
    pairs = np.array([[0, 3], [2, 1], [3, 1]])
    places = corpus.places[pairs]
    expected = similarity.estimate(sketches[places[:, 0]], sketches[places[:, 1]])
    np.testing.assert_array_equal(asked.of(pairs), expected)
