"""The recipe's step is that of the configuration: each optimizer setting against AdamW's formulas, Muon and parts by effect."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from millrace.components.training import recipe
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture.reading import plan

STEPS = 10
PHASE = {"sequence_length_tokens": 4, "weights": {"a": 1}}
SETTINGS: dict[str, Any] = {
    "phases": [
        PHASE | {"until_tokens": 2 * 4 * 5},
        PHASE | {"until_tokens": 2 * 4 * STEPS, "learning_rate": 0.05},
    ],
    "batch_size": 2,
    "learning_rate": 0.2,
    "warmup_steps": 3,
    "decay_fraction": 0.5,
    "final_fraction": 0.25,
    "weight_decay": 0.3,
    "beta2": 0.8,
    "clip_norm": 0.5,
}


def made(**changes: Any) -> recipe.Recipe:
    config = PretrainConfig.model_validate(SETTINGS | changes)
    return recipe.make(config, plan(config, 0, {"a": 1_000}, 64))


def rate(step: int, decay: str) -> float:
    """The learning rate of ``SETTINGS``: warmup of 3, another peak from step 5 on, a decay to a quarter."""
    peak = 0.2 if step < 5 else 0.05
    done = {
        "stable": max(step + 1 - 5, 0) / 5,
        "cosine": (1 - math.cos(math.pi * max(step + 1 - 3, 0) / 7)) / 2,
        "constant": 0.0,
    }[decay]
    return peak * min((step + 1) / 3, 1) * (1 - 0.75 * done)


@pytest.mark.parametrize("decay", ["stable", "cosine", "constant"])
def test_every_setting_of_adamw_is_in_its_steps(decay: str) -> None:
    """Ten steps of two weights follow the textbook's formulas with the configuration's own numbers."""
    optimizer = made(decay=decay).optimizer
    draw = np.random.default_rng(0)
    params: Any = {"query": jnp.asarray(draw.standard_normal(2), jnp.float32)}
    state = optimizer.init(params)
    expected, mean, square = np.asarray(params["query"], float), np.zeros(2), np.zeros(2)
    for step in range(STEPS):
        gradient = draw.standard_normal(2) * 2
        updates, state = optimizer.update({"query": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        clipped = gradient * min(0.5 / np.linalg.norm(gradient), 1)
        mean, square = 0.9 * mean + 0.1 * clipped, 0.8 * square + 0.2 * clipped**2
        moment = np.sqrt(square / (1 - 0.8 ** (step + 1))) + 1e-8
        direction = mean / (1 - 0.9 ** (step + 1)) / moment
        expected = expected - rate(step, decay) * (direction + 0.3 * expected)
        np.testing.assert_allclose(params["query"], expected, rtol=2e-4, atol=1e-6)


def test_muon_turns_a_hidden_matrix_and_leaves_the_rest_to_adamw() -> None:
    """A matrix's update has equal singular values whatever its gradient's; an embedding's is AdamW's."""
    draw = np.random.default_rng(1)
    gradients: Any = {
        "feed_forward": {"gate": jnp.asarray(draw.standard_normal((1, 4, 4)) ** 3, jnp.float32)},
        "embedding": jnp.asarray(draw.standard_normal((3, 4)), jnp.float32),
    }
    params = jax.tree.map(jnp.zeros_like, gradients)

    def updates(optimizer: str) -> Any:
        transformation = made(optimizer=optimizer).optimizer
        return transformation.update(gradients, transformation.init(params), params)[0]

    def spread(update: Any) -> float:
        values = np.linalg.svd(np.asarray(update["feed_forward"]["gate"][0]), compute_uv=False)
        return float(values[0] / values[-1])

    muon, adamw = updates("muon"), updates("adamw")
    assert spread(muon) < 2 < spread(adamw)
    np.testing.assert_allclose(muon["embedding"], adamw["embedding"], rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_batch_is_taken_in_its_parts(parts: int) -> None:
    """The loss sees a part of the rows at a time; value and gradient are those of the whole."""
    seen = []

    def loss(params: Any, batch: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        seen.append(batch["tokens"].shape[0])
        return jnp.mean((batch["tokens"][:, 1:].astype(jnp.float32) - params) ** 2), {}

    tokens = jnp.arange(12, dtype=jnp.int32).reshape(4, 3)
    value, gradient = made(batch_size=4, accumulate_steps=parts).gradient(loss)(
        jnp.float32(2), {"tokens": tokens}
    )
    targets = np.asarray(tokens[:, 1:], float)
    assert set(seen) == {4 // parts}
    assert float(value[0]) == pytest.approx(np.mean((targets - 2) ** 2))
    assert float(gradient) == pytest.approx(-2 * np.mean(targets - 2))
