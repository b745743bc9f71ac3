"""The page of a training shows its curves, its phases and what was left out, and escapes what it quotes."""

from __future__ import annotations

import math
import re
from typing import Any

from millrace.components.reports import charts
from millrace.components.training import report as pretrain_report

REPORT: dict[str, Any] = {
    "parameters": 1_000_000,
    "steps": 40,
    "tokens": 81_920,
    "final_loss": 2.25,
    "epochs": {"<code>": 1.5},
    "loss": [{"step": 10 * n, "loss": 5.0 - n / 2} for n in range(1, 5)],
    "held_out": [
        {"step": step, "tokens": step * 2048, "bits_per_byte": 4 - step / 20, "bits_per_byte_docs": 3.5}
        for step in (0, 20, 40)
    ],
    "skipped": [{"step": 7, "rows": [{"row": 0, "source": "docs", "documents": 2, "doc_ids": ["ab12"]}]}],
}
PHASES = [
    {
        "first_step": 0,
        "steps": 30,
        "tokens": 61_440,
        "rows": 8,
        "sequence_length_tokens": 256,
        "weights": {"<code>": 3.0, "docs": 1.0},
    },
    {
        "first_step": 30,
        "steps": 10,
        "tokens": 20_480,
        "rows": 8,
        "sequence_length_tokens": 256,
        "weights": {"docs": 1.0},
    },
]


def test_the_page_tells_what_was_trained() -> None:
    """Headline figures, shares of each phase, the skipped step's document; no markup of a name gets through."""
    page = pretrain_report.page(REPORT, PHASES)
    for text in ("1,000,000 parameters", "2 bits a byte", "75.0%", "100.0%", "ab12 …", "&lt;code&gt;"):
        assert text in page
    assert "<code>" not in page


def test_curves_keep_their_shape() -> None:
    """A falling series falls on the page from corner to corner, and values that are not finite leave no trace."""
    drawn = charts.lines({"loss": [(0, 4.0), (1, math.nan), (2, 2.0)]}, "loss")
    places = re.search(r'points="([^"]*)"', drawn)
    assert places is not None
    (x0, y0), (x1, y1) = (map(float, place.split(",")) for place in places[1].split())
    assert x0 < x1
    assert y0 < y1
    assert "nan" not in drawn


def test_nothing_measured_is_said() -> None:
    assert "nothing was measured" in charts.lines({"loss": []}, "loss")
