"""``report.html`` of ``ablate_mixture``: the mixtures tried, the quality of the fit, its proposals, the measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.components.reports import charts
from millrace.components.reports import html as html_page

MOST_ROWS = 60
FORMS = {
    "mixing_law": "mixing law, c + exp(t·w)",
    "linear": "linear ridge",
    "logarithmic": "ridge on log w",
    "quadratic": "quadratic ridge",
}


def page(report: Mapping[str, Any]) -> str:
    """The whole file, for what ``report.json`` holds."""
    runs = {run["name"]: run for run in report["runs"]}
    best, prior = runs[report["best"]], report["runs"][0]
    predicted = (
        f", predicted {best['predicted']:.4f} ± {best['error']:.4f}" if best["predicted"] is not None else ""
    )
    summary = (
        f"{len(runs)} proxies of {report['parameters']:,} parameters and {report['tokens']:,} tokens. The best that was "
        f"measured is {best['name']}: {best['objective']:.4f} bits a byte held out{predicted}; the prior measured "
        f"{prior['objective']:.4f}."
    )
    parts = [html_page.warning(f"{doubt[:1].upper()}{doubt[1:]}.") for doubt in report["doubts"]]
    parts.append(
        html_page.section("Proposed weights", *_weights(report, best, prior), _losses(report, best, prior))
    )
    parts.append(html_page.section("Predicted and measured", *_prediction(report)))
    parts.append(html_page.section("All mixtures, the best first", *_mixtures(report)))
    return html_page.page("Mixture ablation", summary, *parts)


def _weights(
    report: Mapping[str, Any], best: Mapping[str, Any], prior: Mapping[str, Any]
) -> list[html_page.Piece]:
    groups = {
        source: {"prior": prior["weights"][source], "proposed": best["weights"][source]}
        for source in best["weights"]
    }
    bound = {source: most for source, most in report["most"].items() if most < 1}
    listed = ", ".join(f"{source} at most {most:.4g}" for source, most in bound.items())
    note = [html_page.paragraph(f"Bounded by the passes over its text: {listed}.")] if bound else []
    return [charts.grouped_bars(groups, "Weights"), *note]


def _losses(report: Mapping[str, Any], best: Mapping[str, Any], prior: Mapping[str, Any]) -> html_page.Piece:
    rows = [
        [source, f"{share:.1%}", *_change(prior["bits_per_byte"][source], best["bits_per_byte"][source])]
        for source, share in report["importance"].items()
    ]
    rows.append(["objective", "", *_change(prior["objective"], best["objective"])])
    headers = ["held-out source", "in the objective", "prior, bits a byte", "proposed", "change"]
    return html_page.table(headers, rows)


def _change(before: float, after: float) -> list[float | str]:
    return [before, after, f"{after / before - 1:+.2%}"]


def _prediction(report: Mapping[str, Any]) -> list[html_page.Piece]:
    if not report["forms"]:
        return [html_page.paragraph("Nothing could be fitted, so nothing was predicted.")]
    runs = report["runs"]
    points = [(run["predicted"], run["objective"]) for run in runs[1:] if not run["is_proposal"]]
    marked = {
        run["name"]: (run["predicted"], run["objective"], run["error"])
        for run in (runs[0], *(run for run in runs if run["is_proposal"]))
    }
    chart = charts.scatter(
        points,
        marked,
        "Each mixture's objective, bits a byte, as predicted without it; bars are standard errors",
        ("predicted", "measured"),
    )
    sources = list(report["importance"])
    table = html_page.table(
        ["form", "R² left out", "rank correlation", "error", *(f"R² {source}" for source in sources)],
        [
            [
                FORMS[form["form"]] + (" (best)" if place == 0 else ""),
                form["r2"],
                form["spearman"],
                form["rmse"],
                *(form["source_r2"][source] for source in sources),
            ]
            for place, form in enumerate(report["forms"])
        ],
    )
    note = html_page.paragraph(
        "Left out: every mixture is predicted by a fit to the others. R² is 1 where that is exact, and 0 or less where the "
        "mean of the others is as good. The error is the root mean square, in bits a byte. Fits to the mixtures that were "
        "given, before any proposal."
    )
    return [chart, table, note]


def _mixtures(report: Mapping[str, Any]) -> list[html_page.Piece]:
    sources, held_out = list(report["runs"][0]["weights"]), list(report["importance"])
    runs = sorted(report["runs"], key=lambda run: run["objective"])
    rows = [
        [
            run["name"].replace(" ", "\u00a0") + ("\u00a0★" if run["name"] == report["best"] else ""),
            *(run["weights"][source] for source in sources),
            *(run["bits_per_byte"][source] for source in held_out),
            run["objective"],
            run["predicted"],
        ]
        for run in runs[:MOST_ROWS]
    ]
    headers = [
        "mixture",
        *sources,
        *(f"loss {source}" for source in held_out),
        "objective",
        "predicted",
    ]
    left = len(runs) - MOST_ROWS
    more = [html_page.paragraph(f"{left} more are in report.json.")] if left > 0 else []
    note = html_page.paragraph(
        "Weights by source, losses in bits a byte by held-out source; ★ is proposed. What was predicted is predicted without "
        "the mixture's own measurement."
    )
    return [note, html_page.table(headers, rows), *more]
