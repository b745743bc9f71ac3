"""Curves and the final loss of a training, as reports hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from millrace.model.training.loop import History

CURVE_POINTS = 500  # reports stay small: an orchestrator's page loads them whole
FINAL_STEPS = 20


def loss_curve(history: History, name: str = "loss") -> list[dict[str, Any]]:
    """A curve as means over equal spans of steps, at most ``CURVE_POINTS``; ``step`` is a span's end.

    Steps that were skipped because they are not finite do not count; a span of nothing else has None.
    """
    values = history.curves[name]
    width = max(-(-len(values) // CURVE_POINTS), 1)
    return [
        {"step": min(start + width, len(values)), name: _mean(values[start : start + width], 5)}
        for start in range(0, len(values), width)
    ]


def final_loss(history: History, name: str = "loss") -> float:
    """Mean training loss, or a part of it, of the last ``FINAL_STEPS`` finite steps, nats per token."""
    values = history.curves[name]
    found = _mean(values[np.isfinite(values)][-FINAL_STEPS:], 6)
    if found is None:
        raise ValueError("got no step with a finite loss, expected one")
    return found


def _mean(losses: np.ndarray, digits: int) -> float | None:
    finite = losses[np.isfinite(losses)].astype(float)
    return round(float(finite.mean()), digits) if finite.size else None
