"""The report of the filter: drops and edits by source and rule, with histograms and examples to read.

``report.json`` has every figure; ``report.html`` shows the bounds that dropped most in full and the others as a line of
the table, so that it stays small enough for a page that loads it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace.components.reports import charts
from millrace.components.reports import html as html_page
from millrace.components.reports.figures import number
from millrace.components.reports.files import write_json
from millrace.components.shards.map import Tally

from .findings import add, bounds_of_rules, edges_of
from .rule import Bound
from .shard import Rules, rules_of

SHOWN_BOUNDS = 40


def write_report(
    folder: Path, rules: Rules, tallies: Mapping[str, Tally], shards: Iterable[Mapping[str, Any]]
) -> None:
    """Writes ``report.json`` and ``report.html``.

    Args:
        folder: Where to.
        rules: Source -> its rules.
        tallies: Source -> what happened to its documents.
        shards: For each shard, source -> what ``findings.find`` found.
    """
    totals: dict[str, dict[str, Any]] = {}
    for shard in shards:
        for source, found in shard.items():
            add(totals.setdefault(source, {}), found)
    sources = {
        source: _source(bounds_of_rules(rules_of(rules, source)), tally, totals.get(source))
        for source, tally in sorted(tallies.items())
    }
    ranked = sorted(
        (-bound["dropped"], source, at)
        for source, own in sources.items()
        for at, bound in enumerate(own["bounds"])
        if bound["dropped"]
    )
    shown = {(source, at) for _, source, at in ranked[:SHOWN_BOUNDS]}
    for source, own in sources.items():
        for at, bound in enumerate(own["bounds"]):
            if (source, at) not in shown:
                del bound["examples"]
    write_json(folder / "report.json", {"sources": sources}, ascii=False, keep_order=True)
    (folder / "report.html").write_text(_page(sources), encoding="utf-8")


def _source(bounds: Sequence[Bound], tally: Tally, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The report of one source."""
    own: dict[str, Any] = {
        "documents_in": tally.documents_in,
        "documents_out": tally.documents_out,
        "bytes_in": tally.bytes_in,
        "bytes_out": tally.bytes_out,
        "bounds": [],
        "edits": {},
    }
    if found is None:
        return own
    for bound, figures in zip(bounds, found["bounds"], strict=True):
        examples = {
            kind: [{"doc_id": doc_id, "value": value, "text": text} for _, doc_id, value, text in rows]
            for kind, rows in figures["examples"].items()
        }
        own["bounds"].append(
            {
                "bound": bound.name,
                "threshold": bound.threshold,
                **{name: figures[name] for name in ("broken", "dropped", "dropped_bytes")},
                "histogram": {"edges": edges_of(bound), "counts": figures["counts"]},
                "examples": examples,
            }
        )
    own["edits"] = {
        name: {"documents": documents, "edits": count}
        for name, (documents, count) in sorted(found["edits"].items())
    }
    return own


def _page(sources: Mapping[str, Mapping[str, Any]]) -> str:
    came, left = (sum(own[key] for own in sources.values()) for key in ("documents_in", "documents_out"))
    bytes_in, bytes_out = (sum(own[key] for own in sources.values()) for key in ("bytes_in", "bytes_out"))
    headers = ("source", "documents in", "documents out", "bytes in", "bytes out", "share of documents kept")
    rows = [
        (
            source,
            own["documents_in"],
            own["documents_out"],
            own["bytes_in"],
            own["bytes_out"],
            round(own["documents_out"] / max(own["documents_in"], 1), 4),
        )
        for source, own in sources.items()
    ]
    parts = [html_page.section("Sources", html_page.table(headers, rows))]
    parts += [html_page.section(source, *_parts(own)) for source, own in sources.items()]
    summary = f"{left:,} of {came:,} documents and {bytes_out:,} of {bytes_in:,} bytes of text go on."
    return html_page.page("Filter", summary, *parts)


def _parts(own: Mapping[str, Any]) -> list[html_page.Piece]:
    """The pieces of one source's section."""
    if not own["bounds"] and not own["edits"]:
        return [html_page.paragraph("No rules: every document goes on as it came.")]
    parts = []
    if own["bounds"]:
        headers = ("rule", "threshold", "documents beyond it", "dropped by it first", "bytes dropped")
        rows = [
            tuple(bound[name] for name in ("bound", "threshold", "broken", "dropped", "dropped_bytes"))
            for bound in own["bounds"]
        ]
        parts.append(html_page.table(headers, rows))
    if own["edits"]:
        edits = [(name, found["documents"], found["edits"]) for name, found in own["edits"].items()]
        parts.append(html_page.table(("edit", "documents", "edits"), edits))
    parts += [_bound_part(bound) for bound in own["bounds"] if "examples" in bound]
    return parts


def _bound_part(bound: Mapping[str, Any]) -> html_page.Piece:
    """A bound's histogram and the documents nearest to it."""
    name, threshold = bound["bound"], bound["threshold"]
    is_minimum = name.partition(".")[2].startswith("min_")
    pieces = [
        charts.histogram(
            bound["histogram"]["counts"],
            bound["histogram"]["edges"],
            f"Documents by {name.partition('.')[2][4:]}, heights logarithmic; threshold {number(threshold)}",
            **{"minimum" if is_minimum else "maximum": threshold},
        )
    ]
    for kind, examples in bound["examples"].items():
        quotes = [
            html_page.paragraph(f"{number(example['value'])}: {example['doc_id']}")
            + html_page.quote(example["text"])
            for example in examples
        ]
        if quotes:
            pieces.append(html_page.folded(f"{kind} nearest to the threshold", *quotes))
    return html_page.subsection(name, *pieces)
