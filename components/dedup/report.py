"""The report of ``dedup``: drops by source, sources that duplicate each other, and the largest clusters with samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from millrace.components.reports import charts
from millrace.components.reports import html as html_page
from millrace.components.reports.files import write_json
from millrace.components.shards.map import Tally
from millrace.data.documents import catalogue

from .corpus import Clusters, Corpus

LARGEST = 20
SAMPLES = 3  # of each cluster, besides its survivor
MOST_SOURCES = 40  # rows and columns of the matrix that the page shows


def samples(corpus: Corpus, found: Clusters) -> list[dict[str, Any]]:
    """The largest clusters, with the nodes to show of each: the survivor, and what is least and most like it.

    Returns:
        ``label``, ``documents`` (of this corpus), ``survivor`` and ``nodes``, the largest first.
    """
    labels = found.labels[found.dropped]
    order = np.argsort(labels, kind="stable")
    distinct, starts, dropped = np.unique(labels[order], return_index=True, return_counts=True)
    chosen = []
    for at in np.lexsort((distinct, -found.sizes[distinct], -dropped))[:LARGEST].tolist():
        own = order[starts[at] : starts[at] + dropped[at]]
        own = own[np.lexsort((found.dropped[own], found.similarity[own]))]
        places = sorted({0, own.size // 2, own.size - 1})[:SAMPLES]
        members = own[places]
        survivor = int(found.survivor[distinct[at]])
        chosen.append(
            {
                "label": int(distinct[at]),
                "documents": int(found.sizes[distinct[at]]),
                "survivor": survivor,
                "nodes": [survivor, *found.dropped[members].tolist()],
                "similarity": [None, *(_figure(value) for value in found.similarity[members].tolist())],
            }
        )
    return chosen


def _figure(value: float) -> float | None:
    return round(value, 6) if value == value else None


def write_report(
    folder: Path,
    corpus: Corpus,
    found: Clusters,
    work: Path,
    tallies: Mapping[str, Tally],
    chosen: Sequence[Mapping[str, Any]],
    quotes: Mapping[int, str],
) -> dict[str, float]:
    """Writes ``report.json`` and ``report.html``; returns the stage's metrics.

    Args:
        folder: Where to.
        corpus: All documents.
        found: Their clusters.
        work: The stage's work folder.
        tallies: Source -> what happened to its documents.
        chosen: Result of ``samples``.
        quotes: Node -> first words of the document.
    """
    nodes = np.array([node for one in chosen for node in one["nodes"]], np.int64)
    names = iter(catalogue.names(work / "names", corpus.places[nodes]))
    largest = []
    for one in chosen:
        members = []
        for node, similarity in zip(one["nodes"], one["similarity"], strict=True):
            doc_id, uri = next(names)
            source = corpus.source_names[corpus.sources[node]] if node >= corpus.earlier else None
            members.append(
                {
                    "doc_id": doc_id,
                    "uri": uri,
                    "source": source,
                    "against": corpus.label(node) or None,
                    "similarity": similarity,
                    "text": quotes.get(node, ""),
                }
            )
        largest.append({"documents": one["documents"], "survivor": members[0], "samples": members[1:]})
    is_first = np.unique(found.labels[found.dropped])
    summary = {
        "pairs_met": found.pairs_met,
        "pairs_similar": found.pairs_similar,
        "clusters": int(is_first.size),
        "largest_cluster": int(found.sizes[is_first].max(initial=min(corpus.documents, 1))),
        "dropped_against": int((found.survivor[found.dropped] < corpus.earlier).sum()),
    }
    report = {
        **summary,
        "sources": {
            source: {
                "documents_in": tally.documents_in,
                "documents_out": tally.documents_out,
                "bytes_in": tally.bytes_in,
                "bytes_out": tally.bytes_out,
                "dropped": dict(sorted(tally.dropped.items())),
            }
            for source, tally in tallies.items()
        },
        "duplicates": _matrix(corpus, found),
        "cluster_sizes": _sizes(found.sizes[is_first]),
        "largest": largest,
    }
    write_json(folder / "report.json", report, ascii=False, keep_order=True)
    (folder / "report.html").write_text(_page(report), encoding="utf-8")
    return {name: float(value) for name, value in summary.items()}


def _matrix(corpus: Corpus, found: Clusters) -> dict[str, dict[str, int]]:
    """Source of the dropped document -> source of its survivor, or label of the earlier corpus -> documents."""
    stands = found.survivor[found.dropped]
    shards = np.searchsorted(corpus.bases, corpus.places[stands], "right") - 1
    labels = sorted({label for label in corpus.labels if label})
    columns = [*corpus.source_names, *(f"against {label}" for label in labels)]
    code_of = np.array([labels.index(label) if label else 0 for label in corpus.labels] or [0])
    column = np.where(
        stands < corpus.earlier, len(corpus.source_names) + code_of[shards], corpus.sources[stands]
    )
    counts = np.zeros((len(corpus.source_names), len(columns)), np.int64)
    np.add.at(counts, (corpus.sources[found.dropped], column), 1)
    return {
        source: {name: count for name, count in zip(columns, row, strict=True) if count}
        for source, row in zip(corpus.source_names, counts.tolist(), strict=True)
    }


def _sizes(sizes: np.ndarray) -> dict[str, int]:
    """Clusters by how many documents they have, in classes that double."""
    classes = np.bincount(np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)).tolist()
    names = ["1", "2", *(f"{2 ** (at - 1) + 1} to {2**at}" for at in range(2, len(classes)))]
    return {name: count for name, count in zip(names, classes, strict=False) if count}


def _page(report: Mapping[str, Any]) -> str:
    rules = sorted({rule for row in report["sources"].values() for rule in row["dropped"]})
    sources = html_page.table(
        ["Source", "Documents", *(f"Dropped: {rule}" for rule in rules), "Left", "Bytes", "Bytes left"],
        [
            [
                source,
                row["documents_in"],
                *(row["dropped"].get(rule, 0) for rule in rules),
                row["documents_out"],
                row["bytes_in"],
                row["bytes_out"],
            ]
            for source, row in report["sources"].items()
        ],
    )
    duplicates = report["duplicates"]
    rows = [source for source in duplicates if duplicates[source]][:MOST_SOURCES]
    columns = sorted({name for source in rows for name in duplicates[source]})[:MOST_SOURCES]
    matrix = html_page.table(
        ["Dropped from", *columns],
        [[source, *(duplicates[source].get(name, 0) for name in columns)] for source in rows],
    )
    clusters = [
        html_page.subsection(
            f"{one['documents']:,} documents",
            _member(one["survivor"]),
            html_page.folded("what it stands for", *(_member(member) for member in one["samples"])),
        )
        for one in report["largest"]
    ]
    documents_in, documents_out = (
        sum(row[key] for row in report["sources"].values()) for key in ("documents_in", "documents_out")
    )
    return html_page.page(
        "Duplicates",
        f"{documents_in - documents_out:,} of {documents_in:,} documents were dropped as duplicates, from "
        f"{report['clusters']:,} clusters; {report['pairs_met']:,} pairs were compared, "
        f"{report['pairs_similar']:,} were similar enough.",
        html_page.section("Sources", sources),
        html_page.section(
            "Who duplicates whom",
            html_page.paragraph("Columns: the source of the document that stays."),
            matrix,
        ),
        html_page.section("Clusters by size", charts.bars(report["cluster_sizes"], "Clusters by documents")),
        html_page.section("Largest clusters", *clusters),
    )


def _member(member: Mapping[str, Any]) -> html_page.Piece:
    where = f"{member['source'] or 'against ' + str(member['against'])}: {member['uri']} ({member['doc_id']})"
    if member["similarity"] is not None:
        where += f", similarity {member['similarity']:.3f}"
    return html_page.paragraph(where) + html_page.quote(member["text"])
