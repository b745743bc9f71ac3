"""The weights that a fitted form expects most of, inside the bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.optimize

from .bounds import PARTS, Bounds, Floats, draw

DRAWN_STARTS = 1_024
REFINED_STARTS = 8


def minimise(
    bounds: Bounds, objective: Callable[[Floats], Floats], known: Floats, seed: Sequence[int]
) -> Floats:
    """Weights with the smallest predicted objective.

    The best of many drawn and of all known weights are refined by sequential quadratic programming, so the result
    predicts no more than any of them.

    Args:
        bounds: Of the sources.
        objective: [M, K] -> [M].
        known: [N, K] more weights to begin with.
        seed: Of the draws.

    Returns:
        [K] in ten-thousandths.
    """
    size = len(bounds.sources)
    even = np.full(size, 1 / size)
    drawn = [
        draw(bounds, even, concentration, DRAWN_STARTS // 2, [*seed, place])
        for place, concentration in enumerate((1.0, 0.3))
    ]
    starts = np.concatenate([known, *drawn])
    best_first = starts[np.argsort(objective(starts), kind="stable")]

    def at(point: Floats) -> float:
        return float(objective(point[None])[0])

    ends = [
        scipy.optimize.minimize(
            at,
            start,
            method="SLSQP",
            bounds=[(low / PARTS, high / PARTS) for low, high in zip(bounds.least, bounds.most, strict=True)],
            constraints={"type": "eq", "fun": lambda point: point.sum() - 1},
            options={"maxiter": 200, "ftol": 1e-10},
        ).x
        for start in best_first[:REFINED_STARTS]
    ]
    found = np.stack([bounds.rounded(point) for point in (*best_first[:1], *ends)])
    return found[int(np.argmin(objective(found)))]
