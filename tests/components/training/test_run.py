"""The loss of a training has every term that its configuration names, each with its weight."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from millrace.components.training.config import PretrainConfig
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
