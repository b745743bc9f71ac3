"""Causal grouped-query attention with rotary positions, with and without a key-value cache.

A token's slot in the cache is its position. That makes one rule enough for every case: a query at position p sees slots
0..p. Right padding of ragged prompts is written to slots past the row's length, where no valid query looks and where
the next tokens overwrite it, so a batch of unequal prompts needs no extra mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from .attention_kernels import Sight, attend
from .config import ModelConfig
from .initial_weights import InitialWeights
from .linear import linear
from .norm import RMSNorm


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """Keys and values of the tokens that a batch has seen.

    Attributes:
        keys: [L, B, K, S, H], rotated, compute dtype; L counts layers, S is the room for tokens.
        values: [L, B, K, S, H], compute dtype.
        lengths: [B] int32, tokens seen per row.
    """

    keys: jax.Array
    values: jax.Array
    lengths: jax.Array


def init_cache(config: ModelConfig, batch_size: int, length_tokens: int) -> Cache:
    """An empty cache with room for ``length_tokens`` tokens in each of ``batch_size`` rows."""
    shape = (config.layers, batch_size, config.kv_heads, length_tokens, config.head_size)
    dtype = jnp.dtype(config.compute_dtype)
    return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.zeros((batch_size,), jnp.int32))


def rotary_angles(
    positions: jax.Array, head_size: int, base: float | jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of the rotary angles.

    Args:
        positions: [B, T] int32.
        head_size: H.
        base: Base of the geometric series of frequencies; an array of [B, 1, 1, 1] has one per row.

    Returns:
        Two float32 arrays [B, 1, T, H/2].
    """
    exponents = jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size
    angles = positions.astype(jnp.float32)[:, None, :, None] / base**exponents
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns the pairs (i, i + H/2) of each head by its position's angle.

    Args:
        x: [B, heads, T, H].
        angles: Result of ``rotary_angles``.

    References:
        Su et al. 2021, RoFormer, arXiv 2104.09864, equation 34, in the half-split layout of GPT-NeoX.
    """
    cos, sin = (part.astype(x.dtype) for part in angles)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def write_slots(store: jax.Array, new: jax.Array, positions: jax.Array) -> jax.Array:
    """Puts new keys or values into their slots; positions past the cache's end are dropped.

    One token a row, which is every decoding step, is a select over the cache: the attention reads all of it anyway,
    and XLA's scatter on CPU is a scalar loop.

    Args:
        store: [B, K, S, H].
        new: [B, K, T, H].
        positions: [B, T] int32.
    """
    if new.shape[2] == 1:
        here = jnp.arange(store.shape[2], dtype=jnp.int32)[None, :] == positions
        return jnp.where(here[:, None, :, None], new, store)
    rows = jnp.arange(store.shape[0], dtype=jnp.int32)[:, None]
    return store.at[rows, :, positions].set(new.swapaxes(1, 2), mode="drop")


class Attention(nnx.Module):
    """Grouped-query attention of one layer: N query heads share K key-value heads.

    References:
        Shazeer 2019, arXiv 1911.02150 (K = 1); Ainslie et al. 2023, arXiv 2305.13245 (1 < K < N).
    """

    def __init__(self, config: ModelConfig, initial: InitialWeights) -> None:
        self.config = config
        d, n, k, h = config.model_size, config.heads, config.kv_heads, config.head_size
        self.query = nnx.Param(initial.take((d, n, h), d**-0.5))
        self.key = nnx.Param(initial.take((d, k, h), d**-0.5))
        self.value = nnx.Param(initial.take((d, k, h), d**-0.5))
        if config.query_key_norm:
            self.query_norm = RMSNorm(h, config.norm_epsilon)
            self.key_norm = RMSNorm(h, config.norm_epsilon)
        # 2 * layers branches add up in the residual stream; this keeps its variance near one (GPT-2, section 2.3).
        self.out = nnx.Param(initial.take((n, h, d), (n * h * 2 * config.layers) ** -0.5))

    def __call__(
        self,
        x: jax.Array,
        *,
        positions: jax.Array,
        angles: tuple[jax.Array, jax.Array],
        sight: Sight,
        slots: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
        """Attends.

        Args:
            x: [B, T, D], normed.
            positions: [B, T] int32.
            angles: Rotary angles of the positions.
            sight: The keys that each query may attend to.
            slots: This layer's cached keys and values, [B, K, S, H] each, or None.

        Returns:
            [B, T, D], and the updated slots (None without a cache).
        """
        q, k = linear(x, self.query[...]), linear(x, self.key[...])
        if self.config.query_key_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k = rotate(q.swapaxes(1, 2), angles), rotate(k.swapaxes(1, 2), angles)
        v = linear(x, self.value[...]).swapaxes(1, 2)
        if slots is not None:
            k, v = slots = write_slots(slots[0], k, positions), write_slots(slots[1], v, positions)
        mixed = attend(q, k, v, sight).swapaxes(1, 2)
        return linear(mixed, self.out[...], inputs=2), slots
