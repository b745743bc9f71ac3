"""Intervals against SciPy, a closed form and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from millrace.model.judges import intervals


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    """Wilson's bounds are those of an independent implementation, for all counts."""
    ours = intervals.wilson(*counts)
    theirs = binomtest(*counts).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval() -> None:
    """For many light-tailed units the bootstrap agrees with mean +- 1.96 standard errors."""
    values = np.random.default_rng(1).normal(3.0, 2.0, 2_000)
    got = intervals.bootstrap_mean(values, seed=7)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert got.value == pytest.approx(values.mean())
    assert (got.value - got.low, got.high - got.value) == pytest.approx((half, half), rel=0.1)


def test_bootstrap_covers_a_ratio_as_often_as_it_says() -> None:
    """Over repeated experiments the 95% interval holds the true ratio in 90 to 99% of them."""
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(200):
        sizes = rng.lognormal(5, 1, 120)
        bits = sizes * rng.normal(1.5, 0.3, 120)
        got = intervals.bootstrap_ratio(bits, sizes, seed=trial, resamples=300)
        held += got.low <= 1.5 <= got.high
    assert 180 <= held <= 198


def test_bootstrap_depends_on_the_seed_alone() -> None:
    """The same units and seed give the same bounds; memory blocks do not show."""
    values = np.arange(50.0)
    first = intervals.bootstrap_mean(values, seed=3)
    block, intervals._RESAMPLED_AT_ONCE = intervals._RESAMPLED_AT_ONCE, 500
    try:
        assert intervals.bootstrap_mean(values, seed=3) == first
    finally:
        intervals._RESAMPLED_AT_ONCE = block
    assert intervals.bootstrap_mean(values, seed=4) != first


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    """Counts that no experiment can give raise."""
    with pytest.raises(ValueError, match="expected"):
        intervals.wilson(successes, trials)
    with pytest.raises(ValueError, match="expected"):
        intervals.bootstrap_ratio(np.ones(3), np.zeros(3), seed=0)
