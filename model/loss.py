"""Next-token losses, in nats.

Training uses ``linear_cross_entropy``, which never holds the logits of a whole batch: they are the largest array of a
small model's step (B 16, T 256, V 8192: 134 MB, several times over in the backward pass) and the time goes into moving
them. It takes a few rows at a time and forms their gradient at once.

The target's logit is picked by comparing with an index instead of gathering: the comparison fuses into the softmax and
its gradient, where a gather's gradient is a scatter into [B, T, V], the largest array of a small model's training step.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

CHUNK_TOKENS = 512
MOST_CHUNKS = 16


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


def soft_cap(logits: jax.Array, cap: float | None) -> jax.Array:
    """Bounds logits smoothly: ``cap * tanh(logits / cap)``; None leaves them alone.

    References:
        Bello et al. 2016, arXiv 1611.09940, section 4 (logit clipping by tanh).
    """
    return logits if cap is None else cap * jnp.tanh(logits / cap)


@dataclass(frozen=True)
class LogitTerms:
    """What is done with logits besides comparing them with targets.

    Attributes:
        soft_cap: Their bound; None is none.
        z_loss: Weight of the mean squared log-normaliser, which keeps logits from drifting.
        chunk_tokens: Tokens whose logits are held at once. By default 512, and more where that would make more than 16
            chunks: each adds to the slope of the whole table, so many small ones spend their time moving it.

    References:
        Chowdhery et al. 2022, PaLM, arXiv 2204.02311, section 5 (z-loss of 1e-4).
    """

    soft_cap: float | None = None
    z_loss: float = 0.0
    chunk_tokens: int | None = None


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def linear_cross_entropy(
    hidden: jax.Array,
    embedding: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    terms: LogitTerms = LogitTerms(),
) -> jax.Array:
    """``cross_entropy`` of the logits ``hidden @ embedding.T`` and their z-loss, in chunks of tokens.

    Args:
        hidden: [B, T, D] final normed states.
        embedding: [V, D] float32.
        targets: [B, T] int32.
        mask: [B, T] bool.
        terms: Soft cap, z-loss and size of the chunks.

    Returns:
        Scalar float32, nats per token; 0 when nothing counts.

    References:
        Hsu et al. 2024, Liger Kernel, arXiv 2410.10989, section 3.2 (fused linear cross-entropy: the gradient of a
        chunk is formed in the forward pass).
    """
    table = embedding.astype(hidden.dtype)

    def chunk(total: jax.Array, part: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        states, wanted, weights = part
        logits = jnp.einsum("CD,VD->CV", states, table, preferred_element_type=jnp.float32)
        logits = soft_cap(logits, terms.soft_cap)
        losses = terms.z_loss * jax.nn.logsumexp(logits, axis=-1) ** 2 - token_log_probs(logits, wanted)
        return total + jnp.sum(losses * weights), None

    return jax.lax.scan(chunk, jnp.zeros(()), _chunks(hidden, targets, mask, terms.chunk_tokens))[0]


def _chunks(
    hidden: jax.Array, targets: jax.Array, mask: jax.Array, chunk_tokens: int | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """States [chunks, C, D], targets [chunks, C] and weights [chunks, C] that sum to one.

    A chunk is a stretch of positions of all rows, so that on a mesh each device has its rows in every chunk.
    """
    weights = mask.astype(jnp.float32)
    weights = weights / jnp.maximum(jnp.sum(weights), 1.0)
    b, t = targets.shape
    span = min(max((chunk_tokens or max(CHUNK_TOKENS, b * t // MOST_CHUNKS)) // b, 1), t)

    def split(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, 0), (0, -t % span)] + [(0, 0)] * (x.ndim - 2))
        return padded.reshape(b, -1, span, *x.shape[2:]).swapaxes(0, 1).reshape(-1, b * span, *x.shape[2:])

    return split(hidden), split(targets), split(weights)


def _target_logits(states: jax.Array, table: jax.Array, wanted: jax.Array, cap: float | None) -> jax.Array:
    """[C] float32, formed once more from the table's rows: a pass over all logits costs more than C of them."""
    return soft_cap(jnp.einsum("CD,CD->C", states, table[wanted], preferred_element_type=jnp.float32), cap)


def _forward(
    hidden: jax.Array, embedding: jax.Array, targets: jax.Array, mask: jax.Array, terms: LogitTerms
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    table = embedding.astype(hidden.dtype)
    ids = jnp.arange(embedding.shape[0], dtype=targets.dtype)

    def chunk(
        carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        total, slope = carry
        states, wanted, weights = part
        logits = jnp.einsum("CD,VD->CV", states, table, preferred_element_type=jnp.float32)
        logits = soft_cap(logits, terms.soft_cap)
        hit = ids == wanted[:, None]
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        log_probs = _target_logits(states, table, wanted, terms.soft_cap) - normaliser
        probability = jnp.exp(logits - normaliser[:, None])
        if terms.z_loss:
            log_probs -= terms.z_loss * normaliser**2
            probability *= 1.0 + 2.0 * terms.z_loss * normaliser[:, None]
        error = (probability - hit.astype(jnp.float32)) * weights[:, None]
        if terms.soft_cap is not None:
            error *= 1.0 - (logits / terms.soft_cap) ** 2
        error = error.astype(states.dtype)
        slope += jnp.einsum("CV,CD->VD", error, states, preferred_element_type=jnp.float32)
        return (total - jnp.sum(log_probs * weights), slope), jnp.einsum("CV,VD->CD", error, table)

    start = (jnp.zeros(()), jnp.zeros(embedding.shape, jnp.float32))
    chunks = _chunks(hidden, targets, mask, terms.chunk_tokens)
    (total, slope), states_slope = jax.lax.scan(chunk, start, chunks)
    b, t, d = hidden.shape
    states_slope = (
        states_slope.reshape(states_slope.shape[0], b, -1, d).swapaxes(0, 1).reshape(b, -1, d)[:, :t]
    )
    return total, (states_slope, slope)


def _backward(
    terms: LogitTerms, slopes: tuple[jax.Array, jax.Array], scale: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    states_slope, slope = slopes
    return states_slope * scale.astype(states_slope.dtype), slope * scale, None, None


linear_cross_entropy.defvjp(_forward, _backward)
