"""Deduplication against brute force: the right clusters, survivors that hold, whatever the shards."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.components.dedup.corpora import WORDS, decisions_of, write_corpus
from tests.conftest import RunComponent

from millrace.components.contract import ComponentError
from millrace.data.documents import shards as documents
from millrace.data.text import folding


def planted(seed: int) -> list[str]:
    """Random texts, some copied with a few words changed, some with only case and white space changed."""
    rng = random.Random(seed)
    texts = []
    for _ in range(25):
        base = rng.choices(WORDS, k=rng.randrange(150, 300))
        texts.append(" ".join(base))
        for _ in range(rng.choice([0, 0, 1, 3])):
            copy = list(base)
            copy[rng.randrange(len(copy))] = "changed"
            texts.append(" ".join(copy))
        if rng.random() < 0.3:
            texts.append("\n\t".join(base).upper() + "\n")
    texts += ["", "!!!", "a b", "a  b"]
    rng.shuffle(texts)
    return texts


def shingles(text: str) -> set[tuple[str, ...]]:
    words = folding.fold(text).split()
    return {tuple(words[i : i + 5]) for i in range(max(len(words) - 4, 1))} if words else set()


def clusters_by_brute_force(texts: list[str], threshold: float) -> list[set[int]]:
    clusters: list[set[int]] = []
    sets = [shingles(text) for text in texts]
    for i, text in enumerate(texts):
        linked = [
            cluster
            for cluster in clusters
            if any(
                " ".join(text.lower().split()) == " ".join(texts[j].lower().split())
                or (sets[i] and len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold)
                for j in cluster
            )
        ]
        clusters = [c for c in clusters if c not in linked] + [set().union({i}, *linked)]
    return clusters


@pytest.mark.parametrize("verify", [True, False])
def test_clusters_and_survivors_equal_brute_force(
    run_component: RunComponent, tmp_path: Path, verify: bool
) -> None:
    """Of every true cluster exactly the longest stays, and each dropped document names it."""
    texts = planted(1)
    ids = [documents.document_id(str(i), "") for i in range(len(texts))]
    done = run_component("dedup", {"verify": verify}, {"documents": write_corpus(tmp_path / "c", texts, 3)})
    decisions = decisions_of(done.outputs["decisions"])
    kept = {row["doc_id"] for row in pq.read_table(done.outputs["documents"]).to_pylist()}
    assert len(decisions) == len(texts)
    for cluster in clusters_by_brute_force(texts, 0.8):
        stays = min(cluster, key=lambda i: (-len(texts[i].encode()), ids[i]))
        assert kept & {ids[i] for i in cluster} == {ids[stays]}
        for i in cluster - {stays}:
            decision = decisions[ids[i]]
            assert decision["action"] == "drop"
            assert decision["evidence"]["survivor"] == ids[stays]
            assert decision["evidence"]["survivor_uri"] == f"file{stays}"
            assert decision["evidence"]["cluster"] == min(ids[j] for j in cluster)
            one, two = shingles(texts[i]), shingles(texts[stays])
            same = texts[i].lower().split() == texts[stays].lower().split()
            assert decision["rule"] == ("exact" if same else "near")
            truth = len(one & two) / len(one | two)
            assert decision["score"] == pytest.approx(truth, abs=1e-6 if verify else 0.2)
    assert done.metrics["documents_out"] == len(kept)


def test_shards_and_order_do_not_change_the_verdicts(run_component: RunComponent, tmp_path: Path) -> None:
    """One shard, five, or five with documents in other places: every document has the same decision."""
    texts = planted(2)
    verdicts = []
    for shards in (1, 5):
        folder = write_corpus(tmp_path / f"c{shards}", texts, shards)
        verdicts.append(decisions_of(run_component("dedup", {}, {"documents": folder}).outputs["decisions"]))
    tables = [pq.read_table(path) for path in documents.shard_paths(folder)]
    for index, table in enumerate(reversed(tables)):
        documents.write_shard(folder / documents.shard_name(index), table)
    verdicts.append(decisions_of(run_component("dedup", {}, {"documents": folder}).outputs["decisions"]))
    assert verdicts[0] == verdicts[1] == verdicts[2]


def test_a_member_that_is_far_from_its_survivor_names_the_link(
    run_component: RunComponent, tmp_path: Path
) -> None:
    """A chain is one cluster; its far end says through which document it belongs."""
    base = [f"w{i}" for i in range(200)]
    texts = []
    for step in range(6):
        texts.append(" ".join(["new"] + [f"x{i}" for i in range(6 * step)] + base[6 * step :]))
    done = run_component(
        "dedup",
        {"survivor": "first", "rows": 3},
        {"documents": write_corpus(tmp_path / "c", texts, 1)},
    )
    decisions = decisions_of(done.outputs["decisions"])
    last = decisions[documents.document_id("5", "")]
    assert last["evidence"]["survivor_uri"] == "file0"
    assert last["score"] < 0.8
    assert last["evidence"]["via"]["similarity"] >= 0.8
    assert "via" not in decisions[documents.document_id("1", "")]["evidence"]
    assert done.metrics["clusters"] == 1


def test_implausible_results_fail_and_name_the_rule(run_component: RunComponent, tmp_path: Path) -> None:
    """Dropping nearly everything is an error that says which rule did it; so is an empty corpus."""
    with pytest.raises(ComponentError, match="rule exact dropped most"):
        run_component("dedup", {}, {"documents": write_corpus(tmp_path / "c", ["same text"] * 12, 2)})
    with pytest.raises(ComponentError, match="no documents"):
        run_component("dedup", {}, {"documents": write_corpus(tmp_path / "d", [], 1)})
