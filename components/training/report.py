"""``report.html`` of ``pretrain``: the model, its data and its curves, in one file without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.components.reports import charts
from millrace.components.reports import html as html_page
from millrace.components.reports.figures import number


def page(
    report: Mapping[str, Any],
    phases: Sequence[Mapping[str, Any]],
    parts_of_loss: Sequence[str] = (),
    title: str = "Pretraining",
) -> str:
    """The whole file.

    Args:
        report: Content of ``report.json``.
        phases: For each phase its ``first_step``, ``steps``, ``tokens``, ``rows``, ``sequence_length_tokens`` and
            ``weights``.
        parts_of_loss: Curves of the report that belong beside the loss.
        title: The page's.
    """
    held_out = report["held_out"]
    last = held_out[-1].get("bits_per_byte") if held_out else None
    summary = (
        f"{report['parameters']:,} parameters, {report['steps']:,} steps, {report['tokens']:,} tokens; "
        f"final loss {number(report['final_loss'])} nats a token"
        + (f", {number(last)} bits a byte held out." if last is not None else ".")
    )
    borders = [phase["first_step"] for phase in phases[1:]]
    curves = [
        charts.lines(
            {name: _points(report[name], name) for name in ("loss", *parts_of_loss)},
            "Training loss, nats a token, by step",
            borders,
        )
    ]
    if held_out:
        names = [name for name in held_out[0] if name.startswith("bits_per_byte")]
        series = {
            name.removeprefix("bits_per_byte").removeprefix("_") or "all": _points(held_out, name)
            for name in names
        }
        curves.append(charts.lines(series, "Bits a byte on held-out text, by step", borders))
    if "gradient_norm" in report:
        norms = {"norm": _points(report["gradient_norm"], "gradient_norm")}
        curves.append(charts.lines(norms, "Gradient norm before clipping, by step", borders))
    sources = sorted({source for phase in phases for source in phase["weights"]})
    mixture = html_page.table(
        ["phase", "first step", "steps", "tokens", "rows", "row's tokens", *sources],
        [
            [
                place,
                phase["first_step"],
                phase["steps"],
                phase["tokens"],
                phase["rows"],
                phase["sequence_length_tokens"],
                *(_share(phase["weights"], source) for source in sources),
            ]
            for place, phase in enumerate(phases)
        ],
    )
    epochs = html_page.table(["source", "times read"], sorted(report["epochs"].items()))
    parts = [html_page.section("Curves", *curves), html_page.section("Mixture", mixture, epochs)]
    if report.get("skipped"):
        parts.append(html_page.section("Steps whose update was left out", _skipped(report["skipped"])))
    return html_page.page(title, summary, *parts)


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if row[name] is not None]


def _share(weights: Mapping[str, float], source: str) -> str:
    return f"{weights.get(source, 0.0) / sum(weights.values()):.1%}"


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> html_page.Piece:
    rows = [
        (
            item["step"],
            row["source"],
            ", ".join(row["doc_ids"]) + (" …" if row["documents"] > len(row["doc_ids"]) else ""),
        )
        for item in skipped
        for row in item["rows"]
    ]
    return html_page.table(["step", "source", "documents of the row"], rows)
