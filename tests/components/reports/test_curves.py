"""Curves are means over equal spans of steps, and steps that are not finite count nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.reports.curves import CURVE_POINTS, final_loss, loss_curve
from millrace.model.training.loop import History


def history(losses: Any) -> History:
    return History({"loss": np.asarray(losses, np.float32)}, [], {})


@given(st.integers(1, 2_000))
def test_a_curve_has_few_points_and_the_mean_of_all(steps: int) -> None:
    """Spans follow each other up to the last step, and their means weighted by length are the mean of all steps."""
    losses = np.arange(steps) % 7
    curve = loss_curve(history(losses))
    ends = [point["step"] for point in curve]
    assert len(curve) <= CURVE_POINTS
    assert ends == sorted({*ends, steps})
    total = sum(point["loss"] * length for point, length in zip(curve, np.diff([0, *ends]), strict=True))
    assert total == pytest.approx(losses.sum(), rel=1e-4, abs=1e-4 * steps)


def test_steps_that_are_not_finite_do_not_count() -> None:
    """A span of nothing else has no loss; the final loss is of the last finite steps."""
    losses = np.ones(CURVE_POINTS * 2)
    losses[:3] = np.nan, np.inf, 5
    losses[-20:] = [np.nan] * 10 + [3] * 10
    curve = loss_curve(history(losses))
    assert [point["loss"] for point in curve[:3]] == [None, 3, 1]
    assert final_loss(history(losses)) == 2
    with pytest.raises(ValueError, match="no step with a finite loss"):
        final_loss(history([np.nan]))
