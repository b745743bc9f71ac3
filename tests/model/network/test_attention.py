"""Rotary positions count distances only, the cache's slots are positions, and a layer is the plain einsum."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.network.attention import Attention, init_cache, rotary_angles, rotate, write_slots
from millrace.model.network.attention_kernels import Sight
from millrace.model.network.config import ModelConfig
from millrace.model.network.initial_weights import InitialWeights

DRAW = np.random.default_rng(0)


def turned(vector: np.ndarray, position: int, base: float = 100.0) -> np.ndarray:
    """One head's vector at a position."""
    angles = rotary_angles(jnp.asarray([[position]], jnp.int32), vector.size, base)
    return np.asarray(rotate(jnp.asarray(vector, jnp.float32)[None, None, None], angles))[0, 0, 0]


def test_a_turn_is_that_of_complex_numbers() -> None:
    """The pair (i, i + H/2) is a number whose angle grows by base^(-2i/H) a position."""
    vector = DRAW.normal(size=8)
    numbers = (vector[:4] + 1j * vector[4:]) * np.exp(1j * 7 * 100.0 ** (-np.arange(0, 8, 2) / 8))
    np.testing.assert_allclose(turned(vector, 7), [*numbers.real, *numbers.imag], rtol=1e-5)


@pytest.mark.parametrize("shift", [1, 5, 300])
def test_scores_depend_on_the_distance_alone(shift: int) -> None:
    """A query and a key three apart have one product wherever they stand."""
    query, key = DRAW.normal(size=(2, 8))
    product = turned(query, 3) @ turned(key, 0)
    assert turned(query, 3 + shift) @ turned(key, shift) == pytest.approx(product, abs=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_slots_are_positions(count: int) -> None:
    """Against a loop, for one token a row and for several; positions past the end are dropped."""
    store = DRAW.normal(size=(2, 3, 5, 4)).astype(np.float32)
    new = DRAW.normal(size=(2, 3, count, 4)).astype(np.float32)
    positions = np.asarray([[2, 3, 4], [4, 5, 6]], np.int32)[:, :count]
    wanted = store.copy()
    for row, place in np.ndindex(2, count):
        if positions[row, place] < 5:
            wanted[row, :, positions[row, place]] = new[row, :, place]
    found = write_slots(jnp.asarray(store), jnp.asarray(new), jnp.asarray(positions))
    np.testing.assert_array_equal(found, wanted)


def test_an_empty_cache_has_room_and_no_tokens(small_config: ModelConfig) -> None:
    """[layers, rows, key heads, room, head size] in the compute dtype."""
    cache = init_cache(replace(small_config, compute_dtype="bfloat16"), 3, 7)
    assert cache.keys.shape == cache.values.shape == (2, 3, 2, 7, 8)
    assert cache.keys.dtype == jnp.bfloat16
    assert cache.lengths.tolist() == [0, 0, 0]


def test_a_layer_is_the_plain_einsum(small_config: ModelConfig) -> None:
    """Four query heads on two key heads, written out with every head's key and value repeated."""
    numbers = jax.random.normal(jax.random.key(0), (small_config.layer_parameter_count(),))
    layer = Attention(small_config, InitialWeights(numbers))
    x = DRAW.normal(size=(2, 6, 32)).astype(np.float32)
    steps = jnp.arange(6, dtype=jnp.int32)[None]
    angles = rotary_angles(jnp.zeros_like(steps), 8, 100.0)  # all at position 0, which turns nothing
    sight = Sight(steps[:, :, None] >= steps[:, None, :], steps, is_causal=True, looks_back=True)

    @nnx.jit
    def attend(layer: Attention, x: jax.Array) -> jax.Array:
        return layer(x, positions=steps, angles=angles, sight=sight)[0]

    q, k, v = (
        np.einsum("BTD,DNH->BNTH", x, np.asarray(part[...], float))
        for part in (layer.query, layer.key, layer.value)
    )
    scores = np.einsum("BNTH,BNSH->BNTS", q, k.repeat(2, axis=1)) / np.sqrt(8)
    shares = np.exp(np.where(np.tri(6, dtype=bool), scores, -np.inf))
    shares /= shares.sum(axis=-1, keepdims=True)
    mixed = np.einsum("BNTS,BNSH->BTNH", shares, v.repeat(2, axis=1))
    wanted = np.einsum("BTNH,NHD->BTD", mixed, np.asarray(layer.out[...], float))
    np.testing.assert_allclose(attend(layer, jnp.asarray(x)), wanted, rtol=1e-4, atol=1e-5)
