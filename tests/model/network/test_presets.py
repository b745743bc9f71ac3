"""Presets have the sizes that they are named for, counted on the real module, and the memory that is stated."""

from __future__ import annotations

import jax
import pytest
from flax import nnx

from millrace.model.network.decoder import Decoder
from millrace.model.network.presets import PRESETS, training_memory
from millrace.model.training.optimizer import make_optimizer

MILLIONS = {"tiny": 3, "small": 30, "base": 125, "nano-1": 1_800, "nano-2": 3_250}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_parameters_that_it_says(name: str) -> None:
    """The module is built without memory and its arrays are counted; dense ones have their nominal size within 5%."""
    config = PRESETS[name]
    module = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    counted = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
    assert counted == config.parameter_count()
    if name in MILLIONS:
        assert counted == pytest.approx(MILLIONS[name] * 1e6, rel=0.05)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("-moe")])
def test_a_sparse_variant_costs_a_token_what_the_dense_one_costs(name: str) -> None:
    """Active parameters and work per token differ by the router alone, while there are more parameters in all."""
    sparse, dense = PRESETS[name], PRESETS[name.removesuffix("-moe")]
    router = sparse.layers * sparse.model_size * sparse.experts
    assert sparse.active_parameter_count() == dense.active_parameter_count() + router
    assert sparse.flops_per_token(128) == dense.flops_per_token(128) + 6 * router
    assert sparse.parameter_count() > 1.3 * dense.parameter_count()


def test_the_states_memory_is_that_of_its_arrays() -> None:
    """Weights and AdamW's moments of a preset, counted in bytes, are what the formula says, to the byte."""
    config = PRESETS["small"]
    params = nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))), nnx.Param))
    moments = jax.eval_shape(make_optimizer(1e-3).init, params)
    counted = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((params, moments)))
    assert counted == training_memory(config, 1, 128).state
    assert training_memory(config, 1, 128, shards=8).state == pytest.approx(counted / 8, rel=1e-6)
