"""Mixtures that are tried lie on the simplex and inside their bounds, whatever the bounds are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.data.mixing.bounds import PARTS, Bounds, draw, within

NAMES = ("web", "code", "books", "maths", "news", "wiki")


@st.composite
def some_bounds(data: st.DrawFn) -> Bounds:
    """Bounds with room for a mixture, from wide open to a single point."""
    size = data(st.integers(1, len(NAMES)))
    most = data(st.lists(st.floats(0.001, 1.5), min_size=size, max_size=size))
    least = data(st.floats(0, 1 / size))
    try:
        return within(dict(zip(NAMES, most, strict=False)), min(least, *most))
    except ValueError:
        assume(False)
        raise


def shares(bounds: Bounds, data: st.DataObject) -> np.ndarray:
    size = len(bounds.sources)
    weights = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    return (
        bounds.array(dict(zip(bounds.sources, weights, strict=True)))
        if sum(weights)
        else np.full(size, 1 / size)
    )


def inside(bounds: Bounds, weights: np.ndarray) -> bool:
    """Whole ten-thousandths that sum to one and keep every bound."""
    parts = np.rint(weights * PARTS)
    np.testing.assert_allclose(parts, weights * PARTS, atol=1e-8)
    return bool(parts.sum() == PARTS and (parts >= bounds.least).all() and (parts <= bounds.most).all())


@given(some_bounds(), st.floats(0.05, 20), st.integers(0, 2**31), st.data())
def test_draws_are_inside_and_the_same_again(
    bounds: Bounds, concentration: float, seed: int, data: st.DataObject
) -> None:
    mean = shares(bounds, data)
    drawn = draw(bounds, mean, concentration, 7, [seed])
    assert drawn.shape == (7, len(bounds.sources))
    assert all(inside(bounds, weights) for weights in drawn)
    np.testing.assert_array_equal(drawn, draw(bounds, mean, concentration, 7, [seed]))


@given(st.permutations(NAMES), st.integers(0, 99))
def test_the_order_in_which_sources_are_named_does_not_count(names: list[str], seed: int) -> None:
    most = {name: 0.2 + 0.1 * NAMES.index(name) for name in names}
    prior = {name: 1.0 + NAMES.index(name) for name in names}
    bounds, plain = within(most), within({name: most[name] for name in NAMES})
    assert bounds == plain
    np.testing.assert_array_equal(
        draw(bounds, bounds.array(prior), 1.0, 3, [seed]),
        draw(plain, plain.array({name: prior[name] for name in NAMES}), 1.0, 3, [seed]),
    )


@given(some_bounds(), st.data())
def test_scaling_keeps_the_ratios_of_what_meets_no_bound(bounds: Bounds, data: st.DataObject) -> None:
    """And changes nothing that is inside already."""
    weights = shares(bounds, data)
    scaled = bounds.scaled(weights[None])[0]
    assert scaled.sum() == pytest.approx(1, abs=1e-6)
    assert inside(bounds, bounds.rounded(scaled))
    least, most = np.asarray(bounds.least) / PARTS, bounds.largest()
    free = (scaled > least + 1e-6) & (scaled < most - 1e-6) & (weights > 1e-6)
    factors = scaled[free] / weights[free]
    np.testing.assert_allclose(factors, factors[:1].repeat(factors.size), rtol=1e-4)
    if (weights > np.maximum(least, 1e-6)).all() and (weights < most).all():
        np.testing.assert_allclose(scaled, weights, atol=1e-6)


@given(some_bounds(), st.data())
def test_rounding_moves_no_weight_by_more_than_a_ten_thousandth(bounds: Bounds, data: st.DataObject) -> None:
    exact = bounds.scaled(shares(bounds, data)[None])[0]
    assert np.abs(bounds.rounded(exact) - exact).max() <= 1 / PARTS + 1e-6


def test_wide_open_and_even_the_draws_cover_the_simplex_evenly() -> None:
    """The first of three weights has density 2 (1 - w): its mean is a third and its square's a sixth."""
    drawn = draw(within({"a": 1, "b": 1, "c": 1}), np.full(3, 1 / 3), 1.0, 20_000, [0])
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.01)
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / 6, atol=0.01)


def test_a_tight_bound_leaves_the_others_their_spread() -> None:
    """One source may have a hundredth; the ratios of the others vary as if it were not there."""
    drawn = draw(within({"a": 1, "b": 1, "small": 0.01}), np.full(3, 1 / 3), 1.0, 2_000, [0])
    assert drawn[:, 0].std() > 0.2
    assert len(set(drawn[:, 2])) > 50


@pytest.mark.parametrize(
    ("most", "min_weight", "message"),
    [
        ({"a": 0.3, "b": 0.4}, 0.0, r"sum to less than one \(a 0.3, b 0.4\)"),
        ({"a": 1.0, "b": 1.0}, 0.6, "expected at most 0.5"),
        ({"a": 1.0, "b": 0.05}, 0.1, "at most 0.05 for 'b', expected room for min_weight 0.1"),
    ],
)
def test_bounds_without_room_are_refused(most: dict[str, float], min_weight: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        within(most, min_weight)
