"""What the reports of training stages have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..model.fit import History

CURVE_POINTS = 500  # reports stay small: an orchestrator's page loads them whole
FINAL_STEPS = 20


def loss_curve(history: History) -> list[dict[str, Any]]:
    """The training loss as means over equal spans of steps, at most ``CURVE_POINTS``; ``step`` is a span's end."""
    losses = history.curves["loss"].astype(float)
    width = max(-(-len(losses) // CURVE_POINTS), 1)
    return [
        {
            "step": min(start + width, len(losses)),
            "loss": round(float(losses[start : start + width].mean()), 5),
        }
        for start in range(0, len(losses), width)
    ]


def final_loss(history: History) -> float:
    """Mean training loss of the last ``FINAL_STEPS`` steps, nats per token."""
    return round(float(history.curves["loss"][-FINAL_STEPS:].astype(float).mean()), 6)


def write_json(path: Path, value: Any) -> None:
    """Writes an artifact's JSON, stable."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
