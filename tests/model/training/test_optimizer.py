"""The schedule has the shape it says, and AdamW equals the textbook's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from millrace.model.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer


@pytest.fixture(autouse=True)
def strict_promotion() -> None:
    """Not here: Optax raises floats to the power of integer counts."""


def rates(decay: str, **settings: Any) -> np.ndarray:
    schedule = learning_rate_schedule(
        [(60, 1.0), (100, 0.5)], total_steps=100, warmup_steps=10, decay=decay, **settings
    )
    return np.asarray([float(np.asarray(schedule(jnp.int32(step)))) for step in range(100)])


def test_stable_rises_stays_and_falls() -> None:
    """Warmup to the peak, plateau, the second phase's peak, then a straight fall to the floor at the last step."""
    rate = rates("stable", decay_fraction=0.2, final_fraction=0.1)
    np.testing.assert_allclose(rate[:10], np.arange(1, 11) / 10, rtol=1e-6)
    assert set(rate[10:60]) == {1.0}
    assert set(rate[60:80]) == {0.5}
    np.testing.assert_allclose(np.diff(rate[79:]), -0.5 * 0.9 / 20, rtol=1e-3)
    assert rate[-1] == pytest.approx(0.05)


def test_cosine_and_constant() -> None:
    """Cosine ends at the floor and is halfway in the middle; constant stays at the phases' peaks."""
    rate = rates("cosine", final_fraction=0.2)
    assert rate[54] == pytest.approx((1 + 0.2) / 2, abs=0.01)
    assert rate[-1] == pytest.approx(0.1)
    assert set(rates("constant")[10:]) == {1.0, 0.5}
    with pytest.raises(ValueError, match="'linear', expected stable, cosine or constant"):
        rates("linear")


@pytest.mark.parametrize("decay", ["stable", "cosine"])
def test_decay_counts_tokens(decay: str) -> None:
    """With batches four times as large in the second phase, the rate is the closed form of the tokens done."""
    settings: dict[str, Any] = {"decay": decay, "decay_fraction": 0.5, "final_fraction": 0.1}
    schedule = learning_rate_schedule(
        [(60, 1.0), (80, 1.0)], total_steps=80, warmup_steps=10, step_tokens=[100, 400], **settings
    )
    rate = np.asarray([float(np.asarray(schedule(jnp.int32(step)))) for step in range(80)])
    tokens = np.cumsum([100] * 60 + [400] * 20)
    start = 7_000 if decay == "stable" else 1_000
    done = np.clip((tokens - start) / (14_000 - start), 0, 1)
    factor = 1 - 0.9 * (done if decay == "stable" else (1 - np.cos(np.pi * done)) / 2)
    np.testing.assert_allclose(rate, np.minimum(np.arange(1, 81) / 10, 1) * factor, rtol=1e-5)


def test_equal_steps_count_alike_in_tokens_and_steps() -> None:
    """The schedule of phases with steps of one size is the one without sizes, to the bit."""
    assert np.array_equal(rates("cosine"), rates("cosine", step_tokens=[7, 7]))


def test_norm_scales_do_not_decay() -> None:
    """By name: stacked scales have two axes like a matrix."""
    params = {"layers": {"norm": {"scale": 1}, "query": 1}, "embedding": 1, "heads": {"bias": 1}}
    expected = {
        "layers": {"norm": {"scale": False}, "query": True},
        "embedding": True,
        "heads": {"bias": False},
    }
    assert decay_mask(params) == expected


def test_a_step_is_the_textbooks() -> None:
    """Clip by the global norm, then Adam's moments with bias correction and decoupled decay."""
    params = {"query": jnp.asarray([1.0, -2.0]), "scale": jnp.asarray([0.5])}
    gradients = {"query": jnp.asarray([3.0, 0.0]), "scale": jnp.asarray([4.0])}
    optimizer = make_optimizer(0.1, weight_decay=0.01, beta1=0.9, beta2=0.95, epsilon=1e-8, clip_norm=1.0)
    state = optimizer.init(params)
    expected = {k: np.asarray(v, float) for k, v in params.items()}
    mean: dict[str, np.ndarray] = {}
    square: dict[str, np.ndarray] = {}
    for step in (1, 2):
        updates, state = optimizer.update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name in expected:
            g = np.asarray(gradients[name], float) / 5.0
            mean[name] = 0.9 * mean.get(name, 0) + 0.1 * g
            square[name] = 0.95 * square.get(name, 0) + 0.05 * g**2
            direction = mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.95**step)) + 1e-8)
            decay = 0.01 * expected[name] if name == "query" else 0
            expected[name] = expected[name] - 0.1 * (direction + decay)
    for name, value in params.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5)
