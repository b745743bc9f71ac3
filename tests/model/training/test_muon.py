"""Muon against plain NumPy: each layer's matrix by itself, and the rest as AdamW does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.devices.sharding import names_of
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.training.loop import fit
from millrace.model.training.muon import matrix_axes
from millrace.model.training.optimizer import make_optimizer
from millrace.model.training.step import Objective

SETTINGS: dict[str, Any] = {"name": "muon", "weight_decay": 0.01, "clip_norm": 1e9}


@pytest.fixture(autouse=True)
def strict_promotion() -> None:
    """Not here: Optax raises floats to the power of integer counts."""


def orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """Five Newton-Schulz iterations with Jordan's coefficients, in float64."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def updates_of(params: Any, gradients: list[Any], **settings: Any) -> Any:
    """The last update after several gradients of the same parameters."""
    optimizer = make_optimizer(0.1, **(SETTINGS | settings))
    updates, state = params, optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
    return updates


def params_of(decoder: Decoder) -> Mapping[str, Any]:
    return nnx.to_pure_dict(nnx.state(decoder, nnx.Param))


def test_every_matrix_of_a_layer_is_muons_and_nothing_else(small_decoder: Decoder) -> None:
    """Weights with stacked matrices have axes; embedding, norms, routers and outputs have none."""
    tree = dict(params_of(small_decoder)) | {"output": jnp.zeros((32, 64)), "router": jnp.zeros((2, 32, 4))}
    axes = jax.tree_util.tree_leaves_with_path(matrix_axes(tree), is_leaf=lambda x: not isinstance(x, dict))
    muons = {names_of(path) for path, value in axes if value is not None}
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    expected = {names_of(path) for path, value in leaves if value.ndim >= 3} - {("router",)}
    assert muons == expected
    assert len(muons) == 7


def test_every_matrix_of_an_expert_is_muons_and_the_router_is_not(small_config: ModelConfig) -> None:
    """The same seven weights as in a dense layer, where each expert has its own."""
    sparse = params_of(network.create(replace(small_config, experts=4), 0))
    axes = jax.tree_util.tree_leaves_with_path(matrix_axes(sparse), is_leaf=lambda x: not isinstance(x, dict))
    muons = {names_of(path)[-2:] for path, value in axes if value is not None}
    assert muons == {("attention", name) for name in ("query", "key", "value", "out")} | {
        ("feed_forward", name) for name in ("gate", "up", "out")
    }


@pytest.mark.parametrize(
    ("group", "name", "shape", "matrices"),
    [
        ("attention", "query", (3, 8, 2, 6), (3, 8, 12)),
        ("attention", "key", (3, 8, 1, 4), (3, 8, 4)),
        ("attention", "out", (3, 2, 6, 8), (3, 12, 8)),
        ("feed_forward", "gate", (3, 8, 20), (3, 8, 20)),
        ("feed_forward", "out", (3, 20, 8), (3, 20, 8)),
        ("feed_forward", "up", (3, 2, 8, 20), (6, 8, 20)),
    ],
)
def test_an_update_is_numpys_layer_by_layer(
    group: str, name: str, shape: tuple[int, ...], matrices: tuple[int, ...]
) -> None:
    """Nesterov momentum, Newton-Schulz over a layer's inputs by outputs, AdamW's size, decoupled decay."""
    params, gradients = normal(0, *shape), [normal(1, *shape), normal(2, *shape)]
    updates = updates_of({group: {name: params}}, [{group: {name: g}} for g in gradients])[group][name]
    first, second = (np.asarray(g, float) for g in gradients)
    # Momentum with Nadam's bias correction (Dozat 2016), as Optax has it.
    moment = 0.95 * 0.05 * first + 0.05 * second
    direction = 0.95 * moment / (1 - 0.95**3) + 0.05 * second / (1 - 0.95**2)
    expected = np.stack([orthogonalised(matrix) for matrix in direction.reshape(matrices)])
    scale = 0.2 * max(matrices[1:]) ** 0.5
    expected = -0.1 * (scale * expected.reshape(shape) + 0.01 * np.asarray(params))
    np.testing.assert_allclose(updates, expected, rtol=2e-3, atol=2e-5)


def test_singular_values_come_near_one_and_size_is_adamws() -> None:
    """Of a matrix that is nearly singular, too: all directions move, by a root mean square near 0.2."""
    gradient = normal(0, 1, 32, 64) * jnp.logspace(0, -1, 32)[:, None]
    params = {"feed_forward": {"up": jnp.zeros((1, 32, 64))}}
    update = updates_of(params, [{"feed_forward": {"up": gradient}}])["feed_forward"]["up"][0] / -0.1
    singular = np.linalg.svd(update / (0.2 * 64**0.5), compute_uv=False)
    assert 0.6 < singular.min() < singular.max() < 1.3
    assert float(jnp.sqrt(jnp.mean(update**2))) == pytest.approx(0.2, rel=0.2)


def test_stacked_layers_are_single_ones() -> None:
    """A layer's update does not depend on what it is stacked with."""
    params, gradient = ({"attention": {"query": normal(seed, 3, 8, 2, 6)}} for seed in (0, 1))
    stacked = updates_of(params, [gradient])
    for layer in range(3):
        one, its = (jax.tree.map(lambda x, i=layer: x[i : i + 1], tree) for tree in (params, gradient))
        alone = updates_of(one, [its])["attention"]["query"][0]
        np.testing.assert_allclose(stacked["attention"]["query"][layer], alone, rtol=1e-4, atol=1e-6)


def test_the_rest_is_adamws(small_decoder: Decoder) -> None:
    """Embedding and norms get the very update of AdamW, masks of weight decay included."""
    params = params_of(small_decoder)
    gradient = jax.tree.map(jnp.sin, params)
    muon, adamw = (updates_of(params, [gradient] * 2, name=name) for name in ("muon", "adamw"))
    assert np.array_equal(muon["embedding"], adamw["embedding"])
    assert np.array_equal(muon["final_norm"]["scale"], adamw["final_norm"]["scale"])
    assert not np.allclose(muon["layers"]["attention"]["query"], adamw["layers"]["attention"]["query"])


def train(config: ModelConfig, checkpoints: Checkpoints | None = None, kill_at: int = -1) -> list[jax.Array]:
    """The weights after four steps with Muon, or a kill on the way."""

    def batches(step: int) -> dict[str, np.ndarray]:
        if step == kill_at:
            raise KeyboardInterrupt
        return {"tokens": np.full((2, 9), step, np.int32)}

    decoder, muon = network.create(config, 0), make_optimizer(1e-2, name="muon")
    fit(decoder, Objective(NextTokenLoss(), muon), batches, 4, stores=[checkpoints] if checkpoints else [])
    return jax.tree.leaves(params_of(decoder))


def test_a_resumed_training_ends_with_the_same_bits(small_config: ModelConfig, tmp_path: Path) -> None:
    """Muon's state, a tree with gaps, survives a checkpoint."""
    with Checkpoints(tmp_path / "work", 2) as checkpoints, pytest.raises(KeyboardInterrupt):
        train(small_config, checkpoints, kill_at=3)
    with Checkpoints(tmp_path / "work", 2) as checkpoints:
        resumed = train(small_config, checkpoints)
    assert all(map(np.array_equal, resumed, train(small_config)))


def test_an_unknown_optimizer_is_refused() -> None:
    """The names there are are said."""
    with pytest.raises(ValueError, match="'lion', expected one of adamw, muon"):
        make_optimizer(0.1, name="lion")
