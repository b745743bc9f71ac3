"""The page of an ablation leads with its figures and its doubts, and tells every mixture."""

from __future__ import annotations

import copy
from typing import Any

from millrace.components.ablate_mixture import report as ablate_report

RUN = {
    "weights": {"<web>": 0.75, "code": 0.25},
    "bits_per_byte": {"news": 2.5},
    "predicted": 2.4,
    "error": 0.05,
}
REPORT: dict[str, Any] = {
    "parameters": 1_000_000,
    "tokens": 2_000_000,
    "importance": {"news": 1.0},
    "most": {"<web>": 1.0, "code": 0.3},
    "runs": [
        RUN | {"name": "prior", "objective": 2.5, "is_proposal": False},
        RUN | {"name": "sample 1", "objective": 2.75, "is_proposal": False},
        RUN
        | {
            "name": "proposal 1",
            "weights": {"<web>": 0.7, "code": 0.3},
            "bits_per_byte": {"news": 2.25},
            "objective": 2.25,
            "is_proposal": True,
        },
    ],
    "best": "proposal 1",
    "forms": [
        {"form": "mixing_law", "r2": 0.95, "spearman": None, "rmse": 0.04, "source_r2": {"news": 0.95}}
    ],
    "doubts": [],
}


def test_the_page_tells_what_was_predicted_and_measured() -> None:
    """Figures of the best and the prior, the change, bounds, the form; no markup of a name gets through."""
    page = ablate_report.page(REPORT)
    for text in (
        "3 proxies of 1,000,000 parameters and 2,000,000 tokens",
        "proposal 1: 2.2500 bits a byte held out, predicted 2.4000 ± 0.0500; the prior measured 2.5000",
        "-10.00%",
        "code at most 0.3",
        "mixing law",
        "proposal\u00a01\u00a0★",
        "&lt;web&gt;",
    ):
        assert text in page
    assert "<web>" not in page
    assert '<p class="warning">' not in page
    rows = [page.index(f"<td>{name}") for name in ("proposal\u00a01", "prior", "sample\u00a01")]
    assert rows == sorted(rows)


def test_doubts_come_before_the_weights_and_a_page_without_a_fit_says_so() -> None:
    report = copy.deepcopy(REPORT) | {"forms": [], "doubts": ["three mixtures are too few"], "best": "prior"}
    for run in report["runs"]:
        run.update(predicted=None, error=None)
    page = ablate_report.page(report)
    assert page.index("Three mixtures are too few.") < page.index("Proposed weights")
    assert "nothing was predicted" in page
