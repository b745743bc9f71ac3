"""Clusters duplicates: the driver's part of ``dedup``, over arrays of all documents.

A document has a place, its number in the order of the shards (earlier corpora behind this one), and a node, its number
in an order that does not depend on shards: earlier documents first, then those of this corpus by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.components.contract import ComponentError, Context
from millrace.components.shards.map import map_shards
from millrace.data.dedup import clusters, meetings
from millrace.data.documents import catalogue, shuffle
from millrace.data.documents.shards import read_shard

from . import passes
from .config import DedupConfig
from .corpus import Clusters, Corpus
from .similarity import Similarity


def survey(
    config: DedupConfig,
    work: Path,
    tasks: Sequence[passes.Shard],
    earlier: Sequence[passes.Earlier],
    sources: Sequence[Sequence[str]],
) -> Corpus:
    """Numbers all documents, finds those of one normal form, and puts them in the order of preference.

    Args:
        config: The stage's configuration.
        work: The stage's work folder, in which the names of all documents are joined.
        tasks: The shards.
        earlier: Those of earlier corpora.
        sources: Result of signing for each of them.
    """
    names = tuple(sorted({source for shard in sources for source in shard}))
    unknown = sorted(set(config.source_order or ()) - set(names))
    if unknown and names:
        raise ComponentError(
            f"got source {unknown[0]!r} in source_order, expected sources that came in: {', '.join(names)}"
        )
    shards = len(tasks) + len(earlier)
    bases = catalogue.join_names([work / f"names-{index:05d}" for index in range(shards)], work / "names")
    np.save(work / "bases.npy", bases)
    columns: dict[str, list[np.ndarray]] = {}
    for index in range(shards):
        with np.load(work / f"signed-{index:05d}.npz") as signed:
            for name in signed.files:
                columns.setdefault(name, []).append(signed[name])
        code = np.array([names.index(source) for source in sources[index]] or [-1], np.int32)
        columns["sources"][-1] = code[columns["sources"][-1]]
    total, own = int(bases[-1]), int(bases[len(tasks)])
    count_earlier = total - own
    ids = [chunk for _, path in tasks for chunk in read_shard(path, ["doc_id"])["doc_id"].chunks]
    nodes = np.empty(total, np.int64)
    nodes[np.asarray(pc.sort_indices(pa.chunked_array(ids, pa.string())))] = count_earlier + np.arange(own)
    nodes[own:] = np.arange(count_earlier)
    places = np.empty(total, np.int64)
    places[nodes] = np.arange(total)

    def by_node(name: str, empty: np.ndarray) -> np.ndarray:
        return np.concatenate([*columns.pop(name, []), empty])[places]

    forms = _groups(by_node("digests", np.zeros((0, 2), np.uint64)))
    # Of one form a document of this corpus compares, because only those can be read again.
    late = np.arange(total) + np.where(np.arange(total) < count_earlier, total, 0)
    representative = clusters.survivors(forms, late)
    sources_of = by_node("sources", np.zeros(0, np.int32))
    preference = _preference(
        config,
        count_earlier,
        places,
        by_node("sizes", np.zeros(0, np.int64)),
        by_node("values", np.zeros(0)),
        sources_of,
        names,
    )
    senders = np.where(representative == np.arange(total), np.arange(total), -1)
    np.save(work / "senders.npy", senders[nodes])
    return Corpus(
        earlier=count_earlier,
        bases=bases,
        labels=("",) * len(tasks) + tuple(label for _, _, label in earlier),
        nodes=nodes,
        places=places,
        representative=representative,
        urls=by_node("urls", np.zeros(0, np.uint64)),
        preference=preference,
        sources=sources_of,
        source_names=names,
        shingles=by_node("shingles", np.zeros(0, np.int64)),
    )


def _groups(values: np.ndarray) -> np.ndarray:
    """The first row equal to each row of a matrix, int64."""
    order = np.lexsort(values.T)  # stable, so that the first of equals comes first
    ordered = values[order]
    starts = np.flatnonzero(
        np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])[: len(values)]
    )
    groups = np.empty(len(values), np.int64)
    groups[order] = np.repeat(order[starts], np.diff(starts, append=len(values)))
    return groups


def _preference(
    config: DedupConfig,
    earlier: int,
    places: np.ndarray,
    sizes: np.ndarray,
    values: np.ndarray,
    sources: np.ndarray,
    names: Sequence[str],
) -> np.ndarray:
    """The rank of each node in the order in which documents are preferred; those of earlier corpora come first."""
    nodes = np.arange(places.size)
    if config.survivor == "first":
        policy = places.astype(np.float64)
    elif config.survivor == "source_order":
        listed = list(config.source_order or ())
        order = np.array([listed.index(name) if name in listed else len(listed) for name in names] + [0])
        policy = order[sources].astype(np.float64)
    elif config.survivor == "longest":
        policy = np.zeros(places.size)
    else:
        policy = values if config.survivor == "earliest" else -values
        policy = np.where(np.isnan(policy), np.inf, policy)
    ranks = np.empty(places.size, np.int64)
    ranks[np.lexsort((nodes, -sizes, policy, nodes >= earlier))] = nodes
    return ranks


def cluster(
    context: Context, config: DedupConfig, corpus: Corpus, work: Path, tasks: Sequence[passes.Shard]
) -> Clusters:
    """Finds candidate pairs, compares them, and joins those that are similar enough."""
    total = corpus.nodes.size
    parts = _match(context, corpus, work)
    pairs = meetings.split(np.unique(_load(work, "firsts", parts)))
    similarity = Similarity(context, config, corpus, work, tasks, np.unique(pairs))
    values = similarity.of(pairs)
    is_edge = values >= config.threshold
    edges, weights, met = pairs[is_edge], values[is_edge], len(pairs)
    forms = np.stack([np.arange(total), corpus.representative], axis=1)
    labels = clusters.components(total, np.concatenate([edges, forms]))
    # Neighbours that are in one cluster already would change nothing, so only the others are compared.
    apart = [
        part[
            labels[(part >> np.uint64(32)).astype(np.int64)]
            != labels[(part & np.uint64(0xFFFFFFFF)).astype(np.int64)]
        ]
        for index in range(parts)
        for part in [np.load(work / f"neighbours-{index:05d}.npy")]
    ]
    pairs = meetings.split(np.unique(np.concatenate([*apart, np.zeros(0, np.uint64)])))
    values = similarity.of(pairs)
    is_edge = values >= config.threshold
    edges, weights = np.concatenate([edges, pairs[is_edge]]), np.concatenate([weights, values[is_edge]])
    text_labels = clusters.joined(labels, pairs[is_edge])
    labels = clusters.joined(text_labels, _same_url(corpus.urls)) if config.url else text_labels
    survivor = clusters.survivors(labels, corpus.preference)

    nodes = np.arange(total)
    dropped = np.flatnonzero((survivor != nodes) & (nodes >= corpus.earlier))
    chosen = np.stack([corpus.representative[dropped], corpus.representative[survivor[dropped]]], axis=1)
    is_text = text_labels[dropped] == text_labels[survivor[dropped]]
    scores = np.full(dropped.size, np.nan)
    scores[is_text] = 1.0
    near = is_text & (chosen[:, 0] != chosen[:, 1])
    scores[near] = similarity.of(chosen[near])
    far = near & (scores < config.threshold)
    via, via_scores = _closest(edges, weights, chosen[:, 0], far)
    similarity.close()
    sizes = np.bincount(labels[corpus.earlier :], minlength=total)[labels]
    return Clusters(
        labels=labels,
        sizes=sizes,
        survivor=survivor,
        dropped=dropped,
        similarity=scores,
        is_text=is_text,
        via=via,
        via_similarity=via_scores,
        pairs_met=met + len(pairs),
        pairs_similar=len(edges),
    )


def _match(context: Context, corpus: Corpus, work: Path) -> int:
    """Writes the pairs that met; returns in how many partitions."""
    records = shuffle.close(work / "bands", len(corpus.labels))
    ranges = shuffle.partitions(records, passes.PART_RECORDS, passes.LEAST_PARTS)
    parts = [(index, first, end) for index, (first, end) in enumerate(ranges)]
    map_shards(
        context, parts, partial(passes.match, corpus.earlier, str(work)), "MatchBands", unit="partitions"
    )
    return len(parts)


def _load(work: Path, name: str, parts: int) -> np.ndarray:
    return np.concatenate([np.load(work / f"{name}-{index:05d}.npy") for index in range(parts)])


def _same_url(urls: np.ndarray) -> np.ndarray:
    """Edges from each document to the first with its URL, int64 [edges, 2]."""
    with_url = np.flatnonzero(urls)
    first = with_url[_groups(urls[with_url, None])]
    return np.stack([with_url, first], axis=1)[first != with_url]


def _closest(
    edges: np.ndarray, weights: np.ndarray, nodes: np.ndarray, wanted: np.ndarray
) -> tuple[Any, Any]:
    """The most similar neighbour of some nodes, of equals the lowest, with its similarity; -1 for the others."""
    here = np.concatenate([edges[:, 0], edges[:, 1]])
    there = np.concatenate([edges[:, 1], edges[:, 0]])
    both = np.concatenate([weights, weights])
    own = np.isin(here, nodes[wanted])
    here, there, both = here[own], there[own], both[own]
    order = np.lexsort((there, -both, here))
    here, there, both = here[order], there[order], both[order]
    via, scores = np.full(nodes.size, -1, np.int64), np.full(nodes.size, np.nan)
    if here.size:
        at = np.searchsorted(here, nodes[wanted])
        found = here[np.minimum(at, here.size - 1)] == nodes[wanted]
        rows = np.flatnonzero(wanted)[found]
        via[rows], scores[rows] = there[at[found]], both[at[found]]
    return via, scores
