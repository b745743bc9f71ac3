"""Initial weights are cut from one draw, each number once, at the deviations that keep a layer's states near one."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.network.initial_weights import InitialWeights
from millrace.model.package import weights


def test_each_number_is_handed_out_once_in_order() -> None:
    """Reshaped and scaled; more than there are is an error."""
    initial = InitialWeights(jnp.arange(10, dtype=jnp.float32))
    np.testing.assert_array_equal(initial.take((2, 3), 2.0), np.arange(6).reshape(2, 3) * 2)
    np.testing.assert_array_equal(initial.take((4,), 1.0), np.arange(6, 10))
    with pytest.raises(ValueError, match="got 10 random numbers, expected at least 11"):
        initial.take((1,), 1.0)


def test_a_decoders_weights_are_normal_with_the_deviations_of_their_formulas(
    small_config: ModelConfig, small_decoder: Decoder
) -> None:
    """By the Kolmogorov-Smirnov distance to the normal distribution; branches into the stream shrink with their number."""
    c = small_config
    into_stream = 2 * c.layers
    deviations = {
        "embedding": 1 / c.model_size,
        **dict.fromkeys(("attention.query", "attention.key", "attention.value"), c.model_size**-0.5),
        "attention.out": (c.heads * c.head_size * into_stream) ** -0.5,
        **dict.fromkeys(("feed_forward.gate", "feed_forward.up"), c.model_size**-0.5),
        "feed_forward.out": (c.feed_forward_size * into_stream) ** -0.5,
    }
    tensors = weights.tensors(small_decoder)
    for name, deviation in deviations.items():
        values = tensors.get(name, tensors.get(f"layers.{name}"))
        assert values is not None
        distance = stats.kstest(values.ravel() / deviation, "norm").statistic
        assert distance < 1.95 / math.sqrt(values.size), name  # one in a thousand is beyond it
