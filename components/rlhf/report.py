"""The report of ``rlhf``: figures before and after, curves, answers to read.

Before and after share prompts and random draws, so the gain is a paired difference and its interval, which resamples
prompts, is much narrower than the two intervals beside it suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from millrace.components.reports.markdown import table
from millrace.model.judges.intervals import bootstrap_mean

from .answers import Measured

SHOWN_EXAMPLES = 5


def make_report(
    before: Measured, after: Measured, curves: Mapping[str, np.ndarray], seed: int
) -> dict[str, Any]:
    """Figures before and after with 95% intervals over prompts, the gain, the curves and some answers to read."""

    def summary(measured: Measured) -> dict[str, Any]:
        figures: dict[str, Any] = {
            name: bootstrap_mean(values.mean(axis=1), seed=seed).as_json()
            for name, values in measured.figures.items()
        }
        figures["distinct_share"] = len(set(measured.texts)) / len(measured.texts)
        return figures

    gains = {
        name: bootstrap_mean((after.figures[name] - before.figures[name]).mean(axis=1), seed=seed).as_json()
        for name in before.figures
    }
    samples = len(before.texts) // before.figures["reward"].shape[0]
    examples = [
        {"prompt": before.prompts[row], "before": before.texts[row], "after": after.texts[row]}
        for row in range(0, min(len(before.texts), SHOWN_EXAMPLES * samples), samples)
    ]
    return {
        "before": summary(before),
        "after": summary(after),
        "gain": gains,
        "curves": {name: [_rounded(value) for value in values] for name, values in curves.items()},
        "examples": examples,
    }


def _rounded(value: float) -> float | None:
    """None for what is not finite in a step that was skipped."""
    return round(float(value), 6) if np.isfinite(value) else None


def markdown(report: Mapping[str, Any]) -> str:
    """The report to read: figures before and after, the curve at ten points, some answers."""
    terms = " + ".join(f"{weight:g} {name}" for name, weight in report["weights"].items())
    lines = [
        "# RLHF",
        "",
        f"Reward: {terms}. Answers to {report['prompts']['held_out']} held-out prompts, 95% intervals over prompts.",
        "",
    ]
    rows = []
    for name in report["gain"]:
        cells = [report[when][name] for when in ("before", "after", "gain")]
        rows.append([name, *(f"{c['score']:.3f} ({c['low']:.3f} to {c['high']:.3f})" for c in cells)])
    before, after = (report[when]["distinct_share"] for when in ("before", "after"))
    rows.append(["distinct_share", f"{before:.3f}", f"{after:.3f}", f"{after - before:.3f}"])
    lines += table(["figure", "before", "after", "change"], rows)
    curves = report["curves"]
    steps = len(curves["reward"])
    shown = sorted({round(index * (steps - 1) / 9) for index in range(10)})
    names = ("reward", "kl", "entropy", "answer_tokens")
    rows = [[str(step + 1), *(_cell(curves[name][step]) for name in names)] for step in shown]
    lines += ["", "## Curves", "", *table(["step", *names], rows), "", "## Answers"]
    for example in report["examples"]:
        for name in ("prompt", "before", "after"):
            quoted = "\n".join("    " + line for line in example[name].split("\n"))
            lines += ["", f"{name}:", "", quoted]
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"
