"""Nucleus sampling: which tokens may be drawn at all."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def nucleus(logits: jax.Array, top_p: jax.Array) -> jax.Array:
    """Masks what lies outside the nucleus: [R, V] logits, [R] shares; the likeliest token always stays.

    The nucleus is every token at or above the greatest threshold whose mass still reaches ``top_p``. The threshold
    is found by bisection over the bits of the probabilities (positive floats order as their bits do), which is exact
    after 31 halvings and several times faster than the usual sort of the vocabulary on a CPU.

    References:
        Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, arXiv 1904.09751, section 3.1.
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    bits = jax.lax.bitcast_convert_type(probabilities, jnp.int32)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        mass = jnp.sum(jnp.where(bits >= middle[:, None], probabilities, 0.0), axis=-1)
        enough = mass >= top_p
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    start = (jnp.zeros(logits.shape[0], jnp.int32), jnp.max(bits, axis=-1) + 1)
    threshold, _ = jax.lax.fori_loop(0, 31, halve, start)
    return jnp.where(bits >= threshold[:, None], logits, -jnp.inf)
