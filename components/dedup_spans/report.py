"""The report of ``dedup_spans``: the most repeated spans, and the cuts by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.components.reports import charts
from millrace.components.reports import html as html_page
from millrace.components.reports.files import write_json
from millrace.components.shards.map import Tally
from millrace.data.documents import catalogue
from millrace.data.documents.shards import read_shard
from millrace.data.text.batch import from_arrow

from .config import DedupSpansConfig
from .cut import FRACTION_BINS, LONGEST_OF_ALL, boundaries, quote

MOST_REPEATED = 20  # of each method


def most_repeated(
    config: DedupSpansConfig, work: Path, paths: Sequence[str], tops: Sequence[Sequence[Sequence[int]]]
) -> list[list[dict[str, Any]]]:
    """The most frequent spans, as text.

    Args:
        config: The stage's configuration.
        work: The stage's work folder.
        paths: The shards.
        tops: For each method, its most frequent windows as [occurrences, place of the first in the corpus].

    Returns:
        For each method what occurs most often, the most frequent first, with ``occurrences``, ``bytes``, ``quote``,
        ``first`` and ``first_uri``.
    """
    documents = np.load(work / "documents.npy")
    found: list[list[dict[str, Any]]] = []
    for number, method in enumerate(config.methods):
        numbering = catalogue.offsets(work / f"units-{number}")
        windows = np.array(tops[number], np.int64).reshape(-1, 2)
        blocks = _blocks(windows, method.span_units, numbering)
        rows = np.searchsorted(numbering, blocks[:, 1], "right") - 1
        names = catalogue.names(work / "names", rows)
        entries: list[dict[str, Any]] = [{} for _ in rows]
        read, texts = -1, pa.chunked_array([], pa.string())
        for at in np.argsort(rows, kind="stable").tolist():
            row, (occurrences, first, end) = int(rows[at]), blocks[at].tolist()
            shard = int(np.searchsorted(documents, row, "right")) - 1
            if shard != read:
                read, texts = shard, read_shard(paths[shard], ["text"])["text"]
            batch = from_arrow(texts.slice(row - int(documents[shard]), 1))
            starts, ends, _ = boundaries(method, batch, np.zeros(1, np.int64))
            start = int(starts[first - numbering[row]])
            stop = int(ends[end - numbering[row] - 1])
            entries[at] = {
                "occurrences": occurrences,
                "bytes": stop - start,
                "quote": quote(batch, start, stop),
                "first": names[at][0],
                "first_uri": names[at][1],
            }
        found.append(entries)
    return found


def _blocks(windows: np.ndarray, size: int, numbering: np.ndarray) -> np.ndarray:
    """Joins windows of one text that touch and occur equally often; of blocks that overlap the most frequent stays.

    Returns:
        The most frequent blocks as [occurrences, first unit, end], int64 [blocks, 3].
    """
    windows = windows[np.lexsort((windows[:, 0], windows[:, 1]))]
    rows = np.searchsorted(numbering, windows[:, 1], "right")
    starts = np.ones(len(windows), bool)
    starts[1:] = (np.diff(windows[:, 1]) > size) | (np.diff(windows[:, 0]) != 0) | (np.diff(rows) != 0)
    first = np.flatnonzero(starts)
    last = np.append(first[1:] - 1, len(windows) - 1)[: first.size]
    blocks = np.stack([windows[first, 0], windows[first, 1], windows[last, 1] + size], axis=1)
    chosen: list[np.ndarray] = []
    for block in blocks[np.lexsort((blocks[:, 1], -blocks[:, 0]))]:
        if len(chosen) < MOST_REPEATED and all(
            block[2] <= other[1] or other[2] <= block[1] for other in chosen
        ):
            chosen.append(block)
    return np.array(chosen, np.int64).reshape(-1, 3)


def write(
    folder: Path,
    config: DedupSpansConfig,
    tallies: Mapping[str, Tally],
    written: Sequence[Mapping[str, Any]],
    repeated: Sequence[Sequence[Mapping[str, Any]]],
) -> dict[str, float]:
    """Writes ``report.json`` and ``report.html``.

    Args:
        folder: Where to.
        config: The stage's configuration.
        tallies: Source -> what happened to its documents.
        written: Results of ``cut``, one for each shard.
        repeated: Result of ``most_repeated``.

    Returns:
        The stage's metrics.
    """
    names = [method.method for method in config.methods]
    cut: dict[str, list[int]] = {source: [0] * (1 + len(names)) for source in tallies}
    for shard in written:
        for source, counts in shard["cut"].items():
            cut[source] = [have + more for have, more in zip(cut[source], counts, strict=True)]
    sources: dict[str, dict[str, Any]] = {
        source: {
            "documents": tally.documents_in,
            "documents_cut": cut[source][0],
            "documents_dropped": tally.documents_in - tally.documents_out,
            "bytes": tally.bytes_in,
            "bytes_cut": sum(cut[source][1:]),
            "bytes_cut_by": [[name, size] for name, size in zip(names, cut[source][1:], strict=True)],
            "bytes_out": tally.bytes_out,
        }
        for source, tally in tallies.items()
    }
    spans = [sum(shard["spans"][number] for shard in written) for number in range(len(names))]
    entries = [entry for shard in written for entry in shard["longest"]]
    longest = sorted(entries, key=lambda entry: -entry["bytes"])[:LONGEST_OF_ALL]
    fractions = [sum(column) for column in zip(*(shard["fractions"] for shard in written), strict=True)]
    total_bytes = sum(row["bytes"] for row in sources.values())
    bytes_cut = sum(row["bytes_cut"] for row in sources.values())
    summary = {
        "spans_cut": sum(spans),
        "bytes_cut": bytes_cut,
        "documents_cut": sum(row["documents_cut"] for row in sources.values()),
        "cut_fraction": bytes_cut / total_bytes if total_bytes else 0.0,
    }
    report = {
        **summary,
        "sources": sources,
        "methods": [
            {"method": name, "spans_cut": count, "most_repeated": entries}
            for name, count, entries in zip(names, spans, repeated, strict=True)
        ],
        "longest": longest,
        "cut_fraction_histogram": fractions,
    }
    write_json(folder / "report.json", report, ascii=False, keep_order=True)
    (folder / "report.html").write_text(_html(report), encoding="utf-8")
    return summary


def _html(report: Mapping[str, Any]) -> str:
    sources = html_page.table(
        ["Source", "Documents", "Cut", "Dropped", "Bytes", "Bytes cut", "Share", "By method"],
        [
            [
                source,
                row["documents"],
                row["documents_cut"],
                row["documents_dropped"],
                row["bytes"],
                row["bytes_cut"],
                round(row["bytes_cut"] / max(row["bytes"], 1), 4),
                ", ".join(f"{name} {size:,}" for name, size in row["bytes_cut_by"]),
            ]
            for source, row in report["sources"].items()
        ],
    )
    edges = [place / FRACTION_BINS for place in range(FRACTION_BINS + 1)]
    histogram = charts.histogram(
        report["cut_fraction_histogram"], edges, "Share of its bytes that a document lost, where it lost any"
    )
    repeated = [
        html_page.section(
            f"Most repeated: {method['method']}",
            html_page.paragraph(f"{method['spans_cut']:,} spans were cut."),
            html_page.table(
                ["Occurrences", "Bytes", "Text", "First in"],
                [
                    [entry["occurrences"], entry["bytes"], entry["quote"], entry["first_uri"]]
                    for entry in method["most_repeated"]
                ],
            ),
        )
        for method in report["methods"]
    ]
    longest = html_page.table(
        ["Bytes", "Method", "Text", "Cut from", "First in"],
        [
            [entry["bytes"], entry["method"], entry["quote"], entry["uri"], entry["first_uri"]]
            for entry in report["longest"]
        ],
    )
    return html_page.page(
        "Repeated spans",
        f"{report['spans_cut']:,} spans, {report['bytes_cut']:,} bytes ({report['cut_fraction']:.2%}), were cut from "
        f"{report['documents_cut']:,} documents.",
        html_page.section("Sources", sources, histogram),
        *repeated,
        html_page.section("Longest cuts", longest),
    )
