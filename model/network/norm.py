"""Root-mean-square norm, of residual streams and of single heads."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx


class RMSNorm(nnx.Module):
    """Divides by the root mean square and scales; computed in float32.

    References:
        Zhang & Sennrich 2019, Root Mean Square Layer Normalization, arXiv 1910.07467.
    """

    def __init__(self, size: int, epsilon: float) -> None:
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones((size,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Norms the last axis; keeps the dtype."""
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + self.epsilon)
        return (x32 * inverse * self.scale[...]).astype(x.dtype)
