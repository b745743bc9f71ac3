"""Sparse layers: both ways to compute them agree, equal experts are a dense layer, and the router's losses are right."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.network import decoder
from millrace.model.network.config import ModelConfig
from millrace.model.network.experts import Experts
from millrace.model.network.initial_weights import InitialWeights
from millrace.model.package import weights


@pytest.fixture
def sparse(small_config: ModelConfig) -> ModelConfig:
    """Four experts, two of them a token."""
    return replace(small_config, experts=4, experts_per_token=2)


def layer_of(config: ModelConfig, seed: int = 0) -> Experts:
    values = jax.random.normal(jax.random.key(seed), (config.layer_parameter_count(),))
    return Experts(config, InitialWeights(values))


def states(config: ModelConfig, seed: int = 1) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (2, 12, config.model_size))


def test_a_model_whose_experts_are_all_equal_is_the_dense_model(
    small_config: ModelConfig, sparse: ModelConfig
) -> None:
    """Logits of a dense decoder, and of a sparse one whose every expert holds the dense weights, agree."""
    dense, mixture = decoder.create(small_config, 0), decoder.create(sparse, 5)
    values = weights.tensors(dense)
    for name in ("gate", "up", "out"):
        one = values.pop(f"layers.feed_forward.{name}")
        values[f"layers.feed_forward.{name}"] = np.repeat(one[:, None], sparse.experts, axis=1)
    values["layers.feed_forward.router"] = weights.tensors(mixture)["layers.feed_forward.router"]
    weights.fill(mixture, values)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 64, (3, 17)).astype(np.int32))
    np.testing.assert_allclose(nnx.jit(mixture.__class__.__call__)(mixture, ids), dense(ids), atol=2e-6)


def test_ample_capacity_equals_dropless_in_value_and_slope(sparse: ModelConfig) -> None:
    """With room for every choice nothing is lost, forwards or backwards."""
    graph, params = nnx.split(layer_of(sparse))
    x = states(sparse)

    def loss(params: nnx.State, capacity_factor: float | None) -> jax.Array:
        return jnp.sum(jnp.sin(nnx.merge(graph, params)(x, capacity_factor)[0]))

    ample = float(sparse.experts)
    assert float(loss(params, ample)) == pytest.approx(float(loss(params, None)), abs=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.grad(loss)(params, ample),
        jax.grad(loss)(params, None),
    )


def test_beyond_capacity_a_row_keeps_its_earliest_first_choices(sparse: ModelConfig) -> None:
    """Brute force: tokens take places in their row, all first choices before second ones; the rest adds nothing."""
    layer, x = layer_of(sparse, 3), states(sparse, 4)
    logits = np.asarray(x @ layer.router[...])
    places = int(np.ceil(12 * 2 * 0.5 / sparse.experts))
    wanted = np.zeros_like(x)
    for b in range(2):
        chosen = np.argsort(-logits[b], axis=-1)[:, :2]
        taken = dict.fromkeys(range(sparse.experts), 0)
        for rank, t in np.ndindex(2, 12):
            e = int(chosen[t, rank])
            taken[e] += 1
            if taken[e] <= places:
                share = jax.nn.softmax(logits[b, t, chosen[t]])[rank]
                hidden = jax.nn.gelu(x[b, t] @ layer.gate[...][e]) * (x[b, t] @ layer.up[...][e])
                wanted[b, t] += share * (hidden @ layer.out[...][e])
    np.testing.assert_allclose(layer(x, 0.5)[0], wanted, atol=2e-6)


def test_the_routers_losses_follow_their_formulas(sparse: ModelConfig) -> None:
    """An even router's balance is one and its z is ln² E; one that always says the same has a balance of E / k."""
    layer, x = layer_of(sparse), jnp.abs(states(sparse))
    layer.router[...] = jnp.zeros_like(layer.router[...])
    losses = layer(x)[1]
    assert float(losses["router_balance"]) == pytest.approx(1.0)
    assert float(losses["router_z"]) == pytest.approx(np.log(sparse.experts) ** 2)
    layer.router[...] = jnp.zeros_like(layer.router[...]).at[:, :2].set(100.0)
    assert float(layer(x)[1]["router_balance"]) == pytest.approx(sparse.experts / 2)
