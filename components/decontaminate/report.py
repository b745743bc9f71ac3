"""The report of ``decontaminate``: how much of each benchmark was in the corpus, where, and how well that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from millrace.components.reports import html as html_page
from millrace.components.reports.files import write_json
from millrace.data.examples.benchmark_files import Benchmark

from .config import DecontaminateConfig
from .examples import Indexed
from .self_test import Tested
from .shard import REPORTED_HITS, hit_order

FULL = 0.8
"""Share of a question, and of its right answer, from which on an example counts as fully contaminated."""

SHOWN_HITS = 8


def gather(
    benchmarks: Sequence[Benchmark],
    indexed: Indexed,
    results: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Benchmark -> what of it was found where.

    Args:
        benchmarks: The benchmarks.
        indexed: Their examples.
        results: Results of ``clean_shard``, one for each shard.
    """
    shares: dict[int, list[float]] = {}
    for result in results:
        for example, *found in result["examples"]:
            shares[example] = [max(a, b) for a, b in zip(shares.get(example, found), found, strict=True)]
    entries = {}
    first = 0
    for benchmark in benchmarks:
        count = len(benchmark.examples)
        own = range(first, first + count)
        first += count
        contaminated = [example for example in own if example in shares]
        fully = sum(_is_full(indexed, example, shares[example]) for example in contaminated)
        sources: dict[str, int] = {}
        hits: list[dict[str, Any]] = []
        for result in results:
            for source, documents in result["documents"].get(benchmark.name, {}).items():
                sources[source] = sources.get(source, 0) + documents
            hits += result["hits"].get(benchmark.name, [])
        entries[benchmark.name] = {
            "type": benchmark.type,
            "examples": count,
            "too_short": int((~indexed.is_checkable & ~indexed.is_common)[own.start : own.stop].sum()),
            "too_common": int(indexed.is_common[own.start : own.stop].sum()),
            "clean": count - len(contaminated),
            "partly": len(contaminated) - fully,
            "fully": fully,
            "contaminated": len(contaminated),
            "share": len(contaminated) / max(count, 1),
            "remaining": 0,
            "remaining_share": 0.0,
            "documents": sum(sources.values()),
            "documents_by_source": dict(sorted(sources.items())),
            "hits": sorted(hits, key=hit_order)[:REPORTED_HITS],
        }
    return entries


def _is_full(indexed: Indexed, example: int, shares: Sequence[float]) -> bool:
    whole, question, answer = shares
    if not indexed.index.total_bits[example, 2]:
        return question >= FULL or whole >= FULL
    return question >= FULL and answer >= FULL


def write(
    folder: Path,
    config: DecontaminateConfig,
    entries: Mapping[str, Mapping[str, Any]],
    indexed: Indexed,
    tested: Tested,
) -> None:
    """Writes ``report.json`` and ``report.html``."""
    report = {
        "benchmarks": entries,
        "rule": {
            "action": config.action,
            "min_coverage": config.min_coverage,
            "min_score": config.min_score,
            "max_document_frequency": config.max_document_frequency,
        },
        "self_test": {
            "examples": tested.examples,
            "checkable": tested.checkable,
            "recall": tested.copies_recall,
            "found": tested.found,
            "found_checkable": tested.found_checkable,
            "unplanted": tested.hosts,
            "unplanted_flagged": tested.flagged_hosts,
        },
        "common": {
            "sampled_documents": indexed.sampled,
            "triples": indexed.common_triples,
            "most_common": [asdict(common) for common in indexed.common],
        },
    }
    write_json(folder / "report.json", report, ascii=False)
    (folder / "report.html").write_text(_html(report), encoding="utf-8")


def _html(report: Mapping[str, Any]) -> str:
    entries, tested, common = report["benchmarks"], report["self_test"], report["common"]
    contaminated = sum(entry["contaminated"] for entry in entries.values())
    examples = sum(entry["examples"] for entry in entries.values())
    table = html_page.table(
        [
            "Benchmark",
            "Examples",
            "Clean",
            "Partly",
            "Fully",
            "Share",
            "Too short",
            "Too common",
            "Documents",
            "By source",
        ],
        [
            [
                name,
                entry["examples"],
                entry["clean"],
                entry["partly"],
                entry["fully"],
                round(entry["share"], 4),
                entry["too_short"],
                entry["too_common"],
                entry["documents"],
                ", ".join(f"{source} {count:,}" for source, count in entry["documents_by_source"].items()),
            ]
            for name, entry in entries.items()
        ],
    )
    recall = html_page.table(
        ["Planted", "Copies", "Found", "Share", "Share of those that can be found"],
        [
            [
                kind.replace("_", " ") + (" (no copy)" if kind == "shuffled" else ""),
                tested["examples"],
                found,
                round(found / max(tested["examples"], 1), 4),
                round(tested["found_checkable"][kind] / max(tested["checkable"], 1), 4),
            ]
            for kind, found in tested["found"].items()
        ]
        + [
            [
                "nothing",
                tested["unplanted"],
                tested["unplanted_flagged"],
                round(tested["unplanted_flagged"] / max(tested["unplanted"], 1), 4),
                None,
            ]
        ],
    )
    listed = html_page.table(
        ["Words", "Documents", "Examples"],
        [[row["text"], row["documents"], row["examples"]] for row in common["most_common"]],
    )
    return html_page.page(
        "Contamination",
        f"{contaminated:,} of {examples:,} benchmark examples were in the corpus. Of planted copies "
        f"{tested['recall']:.1%} were found.",
        html_page.section(
            "Benchmarks",
            table,
            html_page.paragraph(
                f"Fully: {FULL:.0%} of the question and of its right answer stood in documents. Too short: examples "
                "of few or common words, which cannot be told from chance. Too common: what many documents of the sample "
                "have, which may be boilerplate or an example that is everywhere."
            ),
        ),
        html_page.section(
            "How well copies are found",
            html_page.paragraph(
                "Examples were planted into copies of documents, as they are and changed. What is found where nothing "
                "was planted is an example that is in the corpus, or a mistake."
            ),
            recall,
        ),
        *(
            html_page.section(f"Found of {name}", *_hits(entry["hits"]))
            for name, entry in entries.items()
            if entry["hits"]
        ),
        html_page.section(
            "Common words that do not count",
            html_page.paragraph(
                f"{common['triples']:,} triples of words are in more than "
                f"{report['rule']['max_document_frequency']} of {common['sampled_documents']:,} documents, or in many "
                "examples."
            ),
            listed,
        ),
    )


def _hits(hits: Sequence[Mapping[str, Any]]) -> list[html_page.Piece]:
    return [
        html_page.subsection(
            f"{hit['example']}: question {hit['question']:.0%}, answer {hit['answer']:.0%}",
            html_page.paragraph(f"{hit['source']}: {hit['uri']}"),
            html_page.quote(hit["span"]),
        )
        for hit in hits[:SHOWN_HITS]
    ]
