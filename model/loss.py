"""Next-token losses, in nats.

The target's logit is picked by comparing with an index instead of gathering: the comparison fuses into the softmax and
its gradient, where a gather's gradient is a scatter into [B, T, V], the largest array of a small model's training step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def token_log_probs(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Log-probability of each target.

    Args:
        logits: [..., V] float32.
        targets: [...] int32.

    Returns:
        [...] float32, nats.
    """
    ids = jnp.arange(logits.shape[-1], dtype=targets.dtype)
    picked = jnp.sum(jnp.where(ids == targets[..., None], logits, 0.0), axis=-1)
    return picked - jax.nn.logsumexp(logits, axis=-1)


def cross_entropy(logits: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean loss over the targets that count.

    Args:
        logits: [B, T, V] float32.
        targets: [B, T] int32.
        mask: [B, T] bool.

    Returns:
        Scalar float32, nats per token; 0 when nothing counts.
    """
    weights = mask.astype(jnp.float32)
    return -jnp.sum(token_log_probs(logits, targets) * weights) / jnp.maximum(jnp.sum(weights), 1.0)
