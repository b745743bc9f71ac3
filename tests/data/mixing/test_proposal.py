"""The proposed weights are the best ones inside the bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.mixing.bounds import PARTS, Bounds, Floats
from millrace.data.mixing.proposal import minimise

GRID = np.array([(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]) / 100


@settings(max_examples=8)
@given(st.lists(st.integers(-5, 15), min_size=3, max_size=3), st.sampled_from([PARTS, 5_000]))
def test_no_mixture_of_a_grid_is_better(target: list[int], most: int) -> None:
    """For a bowl whose lowest point may lie outside; the weights are inside and whole ten-thousandths."""
    bounds = Bounds(("a", "b", "c"), (0, 1_000, 0), (most, most, PARTS))
    centre = np.array(target) / 10

    def objective(weights: Floats) -> Floats:
        return np.asarray(((weights - centre) ** 2).sum(axis=1))

    found = minimise(bounds, objective, np.array([[0.3, 0.3, 0.4]]), [0])
    inside = GRID[(GRID[:, 0] * PARTS <= most) & (GRID[:, 1] * PARTS <= most) & (GRID[:, 1] >= 0.1)]
    assert objective(found[None])[0] <= objective(inside).min() + 1e-6
    parts = np.round(found * PARTS)
    assert np.abs(found * PARTS - parts).max() < 1e-6
    assert parts.sum() == PARTS
    assert (bounds.least <= parts).all()
    assert (parts <= bounds.most).all()


def test_a_known_mixture_that_is_best_is_proposed() -> None:
    """One narrow well, which no draw hits and no slope leads to."""
    known = np.array([[0.1234, 0.4321, 0.4445]])
    bounds = Bounds(("a", "b", "c"), (0, 0, 0), (PARTS,) * 3)

    def objective(weights: Floats) -> Floats:
        return np.where(np.abs(weights - known[0]).max(axis=1) < 1e-6, -1.0, 0.0)

    assert minimise(bounds, objective, known, [0]).tolist() == known[0].tolist()
