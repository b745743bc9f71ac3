"""The model's config refuses shapes that cannot be, and counts what the network really has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import pytest
from flax import nnx

from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder


def test_json_gives_the_config_back(small_config: ModelConfig) -> None:
    """Writing and reading changes nothing; a missing or unknown key is named."""
    assert ModelConfig.from_json(small_config.to_json()) == small_config
    with pytest.raises(ValueError, match=r"unknown keys \['depth'\]"):
        ModelConfig.from_json('{"depth": 3}')
    with pytest.raises(ValueError, match="vocab_size"):
        ModelConfig.from_json("{}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"norm_epsilon": -1.0}, "norm_epsilon"),
        ({"kv_heads": 3}, "multiple of kv_heads"),
        ({"head_size": 7}, "even"),
        ({"activation": "relu"}, "'relu', expected one of gelu, silu"),
        ({"compute_dtype": "int8"}, "'int8'"),
        ({"logit_soft_cap": 0.0}, "logit_soft_cap is 0.0"),
        ({"local_window_tokens": 8, "global_every_layers": 3}, "multiple of global_every_layers"),
        ({"experts": 1}, "at least experts_per_token"),
    ],
)
def test_impossible_shapes_are_refused(
    small_config: ModelConfig, change: dict[str, Any], message: str
) -> None:
    """Each says which size is wrong."""
    with pytest.raises(ValueError, match=message):
        replace(small_config, **change)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"kv_heads": 1},
        {"kv_heads": 4},
        {"query_key_norm": True},
        {"tied_embedding": False, "logit_soft_cap": 30.0},
        {"experts": 8},
    ],
)
def test_parameter_count_is_the_networks(small_config: ModelConfig, change: dict[str, Any]) -> None:
    """The formula counts every array of the module."""
    config = replace(small_config, **change)
    module = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    assert config.parameter_count() == sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module)))


def test_flops_are_six_per_weight_and_token(small_config: ModelConfig) -> None:
    """Without attention's square the count is six times the weights in products."""
    weights = 64 * 32 + 2 * (2 * 32 * 8 * 6 + 3 * 32 * 48)
    assert small_config.flops_per_token(1) - 12 * 2 * 4 * 8 == 6 * weights
