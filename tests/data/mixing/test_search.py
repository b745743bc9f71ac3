"""The search keeps the best of what was measured, says when its fit is worth nothing, and asks for no mixture twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.mixing.bounds import Floats, draw, within
from millrace.data.mixing.search import Found, search

OPEN = within({"a": 1, "b": 1, "c": 1})


def given_mixtures(count: int, seed: int = 0) -> list[tuple[str, Floats]]:
    weights = draw(OPEN, np.full(3, 1 / 3), 1.0, count, [seed])
    return [("prior" if place == 0 else f"sample {place}", row) for place, row in enumerate(weights)]


def smooth(weights: Floats) -> Floats:
    return np.asarray([1 + np.exp(weights @ np.asarray([-2.0, 0.5, -1.0])), 1 + np.exp(-2 * weights[1])])


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**31), st.floats(0, 2))
def test_what_is_kept_is_never_worse_than_anything_measured(
    count: int, proposals: int, seed: int, noise: float
) -> None:
    """From smooth losses to nearly pure noise, from one mixture to nine."""
    rng = np.random.default_rng(seed)
    measured: dict[str, float] = {}

    def measure(name: str, weights: Floats) -> Floats:
        losses = smooth(weights) + noise * rng.exponential(size=2)
        measured[name] = float(losses.mean())
        return losses

    found = search(measure, given_mixtures(count, seed % 7), OPEN, np.asarray([0.5, 0.5]), proposals, [seed])
    assert found.best.objective == min(measured.values())
    assert found.best.objective == measured[found.best.name]
    assert [one.name for one in found.tried] == list(measured)
    assert len({tuple(one.weights) for one in found.tried}) == len(found.tried)
    if found.best.name == "prior":
        assert any("the prior" in doubt for doubt in found.doubts)


def found_with(losses: list[float]) -> Found:
    """A search whose given mixtures have these losses and whose proposals have a very large one."""
    given = given_mixtures(len(losses))
    values = iter(losses)
    return search(lambda *_: np.asarray([next(values, 9.0)]), given, OPEN, np.ones(1), 2, [0])


def test_a_fit_that_is_worse_than_the_mean_proposes_nothing_and_says_so() -> None:
    found = found_with([2.0, 2.9, 2.1, 2.8, 2.0, 2.9, 2.1, 2.8])
    assert found.fits[0].r2 <= 0
    assert not [one for one in found.tried if one.is_proposal]
    assert "no form predicts" in found.doubts[0]


def test_too_few_mixtures_for_a_fit_are_said() -> None:
    found = found_with([2.0, 1.9, 2.1])
    assert (found.best.name, found.best.predicted, found.fits) == ("sample 1", None, ())
    assert "3 mixtures are too few" in found.doubts[0]


def test_a_proposal_that_measures_worse_is_not_kept() -> None:
    """Losses follow the weights until the proposal is measured, which then disappoints."""
    given = given_mixtures(10)
    found = search(
        lambda name, weights: np.full(1, 9.0) if "proposal" in name else smooth(weights)[:1],
        given, OPEN, np.ones(1), 1, [0],
    )  # fmt: skip
    proposal = found.tried[-1]
    assert proposal.is_proposal
    assert proposal.predicted is not None
    assert proposal.predicted < found.best.objective < proposal.objective == 9
    assert any("worse than" in doubt for doubt in found.doubts)


def test_later_proposals_come_from_fits_to_the_earlier_ones() -> None:
    """On a smooth law each is better predicted, until the fit asks for what was measured already."""
    found = search(
        lambda _, weights: smooth(weights), given_mixtures(6), OPEN, np.asarray([0.5, 0.5]), 6, [0]
    )
    asked = [one for one in found.tried if one.is_proposal]
    assert 1 <= len(asked) < 6
    errors = [abs(one.objective - one.predicted) for one in asked if one.predicted is not None]
    assert errors[-1] == pytest.approx(0, abs=1e-3)
    assert found.best.is_proposal
