"""The loss of a training has every term that its configuration names, and its steps are those of the optimizer that it names."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.components.training import run
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture.reading import plan
from millrace.components.training.run import next_token_loss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder

SHAPE = ModelConfig(
    vocab_size=32,
    layers=1,
    model_size=16,
    heads=1,
    kv_heads=1,
    head_size=16,
    feed_forward_size=16,
    max_sequence_tokens=16,
    experts=4,
    experts_per_token=2,
)
PHASES = [{"until_tokens": 1, "weights": {"a": 1}}]
FREE = {"router_balance_loss": 0.0, "router_z_loss": 0.0}


@pytest.fixture(scope="module")
def sparse() -> Decoder:
    return network.create(SHAPE, 0)


BATCH = {"tokens": np.random.default_rng(0).integers(0, 32, (2, 17)).astype(np.int32)}


def loss_of(**settings: Any) -> Any:
    return next_token_loss(PretrainConfig.model_validate({"phases": PHASES} | FREE | settings))


@functools.cache
def measured(decoder: Decoder, **settings: Any) -> tuple[float, dict[str, float]]:
    value, router = jax.jit(loss_of(**settings), static_argnums=0)(decoder, BATCH)
    return float(value), {name: float(of) for name, of in router.items()}


@pytest.mark.parametrize("name", ["balance", "z"])
def test_the_routers_losses_have_their_weights(sparse: Decoder, name: str) -> None:
    """The loss grows by the weight times what the router's loss is."""
    plain, router = measured(sparse)
    weighted, _ = measured(sparse, **{f"router_{name}_loss": 0.5})
    assert weighted - plain == pytest.approx(0.5 * router[f"router_{name}"], rel=1e-4)


def test_the_z_loss_has_its_weight(sparse: Decoder) -> None:
    """The loss grows by the weight times the mean square of the logits' log-normalisers."""
    logits = np.asarray(jax.jit(lambda ids: sparse(ids))(BATCH["tokens"][:, :-1]), float)
    normalisers = np.log(np.exp(logits).sum(axis=-1))
    grown = measured(sparse, z_loss=0.5)[0] - measured(sparse)[0]
    assert grown == pytest.approx(0.5 * np.mean(normalisers**2), rel=1e-4)


def test_a_small_capacity_drops_tokens_and_an_ample_one_none(sparse: Decoder) -> None:
    """With room for every choice the loss is the dropless one; with hardly any it is another."""
    assert measured(sparse, capacity_factor=4.0)[0] == pytest.approx(measured(sparse)[0], rel=1e-5)
    assert abs(measured(sparse, capacity_factor=0.25)[0] - measured(sparse)[0]) > 1e-4


def gradient_program(**settings: Any) -> str:
    """The traced gradient of a dense model's loss."""
    shape = replace(SHAPE, experts=0, layers=6)
    graph, params = nnx.split(nnx.eval_shape(lambda: Decoder(shape, rngs=nnx.Rngs(0))))
    loss = loss_of(**settings)

    def measure(params: nnx.State) -> jax.Array:
        return loss(nnx.merge(graph, params), BATCH)[0]

    return str(jax.make_jaxpr(jax.grad(measure))(params))


def test_what_the_backward_pass_computes_again_is_as_configured() -> None:
    """The program of the whole layer again has more products than that of all but products, and both recompute."""
    none, dots, full = (gradient_program(remat=name) for name in ("none", "dots", "full"))
    assert "remat" not in none
    assert "remat" in dots
    assert "remat" in full
    assert dots.count("dot_general") < full.count("dot_general")


def test_layers_are_unrolled_where_asked() -> None:
    """The loop over six layers says that it is compiled as six, or as one."""
    assert "unroll=6" in gradient_program(unroll_layers=True)
    assert "unroll=6" not in gradient_program()


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


def made(**changes: Any) -> run.Recipe:
    config = PretrainConfig.model_validate(SETTINGS | changes)
    return run.make_recipe(config, plan(config, 0, {"a": 1_000}, 64))


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
        clipped = gradient * min(0.5 / float(np.linalg.norm(gradient)), 1)
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
