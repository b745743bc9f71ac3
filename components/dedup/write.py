"""The last pass of ``dedup``: writes one shard's survivors and decisions, and the survivor of each dropped document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.components.shards.map import dump_tallies, tally
from millrace.data.documents import catalogue
from millrace.data.documents.decisions import Verdicts
from millrace.data.documents.shards import read_shard, shard_name, write_shard

from .corpus import Clusters, Corpus

RULES = ("survivor", "exact", "near", "url")
QUOTE_CHARACTERS = 300


def plan(
    corpus: Corpus,
    found: Clusters,
    work: Path,
    samples: Sequence[dict[str, Any]],
) -> None:
    """Writes, for each shard, the facts about those of its documents that have duplicates.

    Args:
        corpus: All documents.
        found: Their clusters.
        work: The stage's work folder.
        samples: Result of ``report.samples``; the first words of those documents are wanted.
    """
    total, dropped = corpus.nodes.size, found.dropped
    rules, order = np.full(total, -1, np.int8), np.full(total, -1, np.int64)
    kept = np.unique(found.survivor[dropped])
    rules[kept[kept >= corpus.earlier]] = 0
    same = corpus.representative[dropped] == corpus.representative[found.survivor[dropped]]
    rules[dropped] = np.where(same, 1, np.where(found.is_text, 2, 3))
    order[dropped] = np.arange(dropped.size)
    wanted = np.array(sorted({node for one in samples for node in one["nodes"]}), np.int64)
    for shard, label in enumerate(corpus.labels):
        if label:
            continue
        first, end = corpus.bases[shard], corpus.bases[shard + 1]
        nodes = corpus.nodes[first:end]
        rows = np.flatnonzero(rules[nodes] >= 0)
        nodes, places = nodes[rows], order[nodes[rows]]
        is_dropped = places >= 0
        via = np.where(is_dropped, found.via[places], -1) if dropped.size else places
        quoted = np.flatnonzero(np.isin(corpus.nodes[first:end], wanted))
        np.savez(
            work / f"verdicts-{shard:05d}.npz",
            rows=rows,
            rules=rules[nodes],
            clusters=corpus.places[found.labels[nodes]],
            survivors=corpus.places[found.survivor[nodes]],
            copies=found.sizes[nodes] - 1,
            similarity=found.similarity[places] if dropped.size else np.zeros(0),
            via=np.where(via >= 0, corpus.places[via], -1),
            via_similarity=found.via_similarity[places] if dropped.size else np.zeros(0),
            quoted=quoted,
            quoted_nodes=corpus.nodes[first:end][quoted],
        )
    np.save(work / "labels.npy", np.array(corpus.labels or [""], np.str_))


def decide(work: str, folders: tuple[str, str], task: tuple[int, str]) -> dict[str, Any]:
    """Writes one shard's documents and decisions; returns its tallies and the quotes that the report wants."""
    index, path = task
    table = read_shard(path)
    with np.load(Path(work) / f"verdicts-{index:05d}.npz") as made:
        entries = {name: made[name] for name in made.files}
    verdicts = Verdicts(np.asarray(pc.binary_length(table["text"])), "unique")
    rows, rules = entries["rows"], entries["rules"]
    for code, rule in enumerate(RULES):
        own = rules == code
        if code == 0:
            verdicts.keep(rows[own], rule)
        elif own.any():
            verdicts.drop(rows[own], rule, entries["similarity"][own])
    _explain(Path(work), entries, verdicts)
    decisions = verdicts.table(table)
    starts = pc.utf8_slice_codeunits(table["text"].take(pa.array(entries["quoted"])), 0, QUOTE_CHARACTERS)
    quotes = dict(
        zip((str(node) for node in entries["quoted_nodes"].tolist()), starts.to_pylist(), strict=True)
    )
    if not verdicts.is_kept.all():
        table = table.filter(pa.array(verdicts.is_kept))
    write_shard(Path(folders[0]) / shard_name(index), table)
    write_shard(Path(folders[1]) / shard_name(index), decisions)
    return {"tallies": dump_tallies(tally(decisions)), "quotes": quotes}


def _explain(work: Path, entries: dict[str, Any], verdicts: Any) -> None:
    """Gives the documents of clusters their evidence."""
    rows = entries["rows"].tolist()
    if not rows:
        return
    columns = [entries["clusters"], entries["survivors"], np.maximum(entries["via"], 0)]
    distinct, at = np.unique(np.concatenate(columns), return_inverse=True)
    names = catalogue.names(work / "names", distinct)
    clusters, survivors, vias = at.reshape(3, -1).tolist()
    bases, labels = np.load(work / "bases.npy"), np.load(work / "labels.npy")
    corpora = labels[np.searchsorted(bases, entries["survivors"], "right") - 1].tolist()
    figures = zip(
        rows,
        entries["rules"].tolist(),
        entries["copies"].tolist(),
        np.round(entries["similarity"], 6).tolist() or [0.0] * len(rows),
        entries["via"].tolist(),
        np.round(entries["via_similarity"], 6).tolist() or [0.0] * len(rows),
        strict=True,
    )
    for place, (row, rule, copies, similarity, via, via_similarity) in enumerate(figures):
        evidence: dict[str, Any] = {"cluster": names[clusters[place]][0]}
        if rule == 0:
            verdicts.explain(row, evidence | {"copies": copies})
            continue
        evidence["survivor"], evidence["survivor_uri"] = names[survivors[place]]
        if corpora[place]:
            evidence["against"] = corpora[place]
        if similarity == similarity:  # a document that only shares a URL was not compared
            evidence["similarity"] = similarity
        if via >= 0:
            doc_id, uri = names[vias[place]]
            evidence["via"] = {"doc_id": doc_id, "uri": uri, "similarity": via_similarity}
        verdicts.explain(row, evidence)
