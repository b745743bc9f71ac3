"""Next-token losses, in nats.

Training uses ``linear_cross_entropy``, which never holds the logits of a whole batch: they are the largest array of a
small model's step (B 16, T 256, V 8192: 134 MB, several times over in the backward pass) and the time goes into moving
them. It takes a few rows at a time and forms their gradient at once.

The target's logit is picked by comparing with an index instead of gathering: the comparison fuses into the softmax and
its gradient, where a gather's gradient is a scatter into [B, T, V], the largest array of a small model's training step.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from .network import Decoder

CHUNK_TOKENS = 512


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def linear_cross_entropy(
    hidden: jax.Array,
    embedding: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    chunk_tokens: int = CHUNK_TOKENS,
) -> jax.Array:
    """``cross_entropy`` of the logits ``hidden @ embedding.T``, in chunks of tokens.

    Args:
        hidden: [B, T, D] final normed states.
        embedding: [V, D] float32.
        targets: [B, T] int32.
        mask: [B, T] bool.
        chunk_tokens: Tokens whose logits are held at once.

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
        return total - jnp.sum(token_log_probs(logits, wanted) * weights), None

    return jax.lax.scan(chunk, jnp.zeros(()), _chunks(hidden, targets, mask, chunk_tokens))[0]


def _chunks(
    hidden: jax.Array, targets: jax.Array, mask: jax.Array, chunk_tokens: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """States [chunks, C, D], targets [chunks, C] and weights [chunks, C] that sum to one."""
    weights = mask.astype(jnp.float32)
    weights = weights / jnp.maximum(jnp.sum(weights), 1.0)
    size = min(chunk_tokens, targets.size)
    padding = -targets.size % size

    def split(x: jax.Array) -> jax.Array:
        flat = x.reshape(targets.size, *x.shape[2:])
        flat = jnp.pad(flat, [(0, padding)] + [(0, 0)] * (flat.ndim - 1))
        return flat.reshape(-1, size, *flat.shape[1:])

    return split(hidden), split(targets), split(weights)


def _forward(
    hidden: jax.Array, embedding: jax.Array, targets: jax.Array, mask: jax.Array, chunk_tokens: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    table = embedding.astype(hidden.dtype)
    ids = jnp.arange(embedding.shape[0], dtype=targets.dtype)

    def chunk(
        carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        total, slope = carry
        states, wanted, weights = part
        logits = jnp.einsum("CD,VD->CV", states, table, preferred_element_type=jnp.float32)
        hit = ids == wanted[:, None]
        normaliser = jax.nn.logsumexp(logits, axis=-1)
        log_probs = jnp.sum(jnp.where(hit, logits, 0.0), axis=-1) - normaliser
        error = (jnp.exp(logits - normaliser[:, None]) - hit.astype(jnp.float32)) * weights[:, None]
        error = error.astype(states.dtype)
        slope += jnp.einsum("CV,CD->VD", error, states, preferred_element_type=jnp.float32)
        return (total - jnp.sum(log_probs * weights), slope), jnp.einsum("CV,VD->CD", error, table)

    start = (jnp.zeros(()), jnp.zeros(embedding.shape, jnp.float32))
    (total, slope), states_slope = jax.lax.scan(chunk, start, _chunks(hidden, targets, mask, chunk_tokens))
    states_slope = states_slope.reshape(-1, hidden.shape[-1])[: targets.size].reshape(hidden.shape)
    return total, (states_slope, slope)


def _backward(
    chunk_tokens: int, slopes: tuple[jax.Array, jax.Array], scale: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    states_slope, slope = slopes
    return states_slope * scale.astype(states_slope.dtype), slope * scale, None, None


linear_cross_entropy.defvjp(_forward, _backward)


def next_token_loss(
    decoder: Decoder, batch: Mapping[str, jax.Array]
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """The loss of ``fit`` for language modelling.

    Args:
        decoder: The model.
        batch: ``tokens`` [B, T+1] int32, inputs and their targets one further on. Packed rows add ``segments``
            [B, T+1] int32 (a token sees its own segment only), ``positions`` [B, T] int32 (restarting with each
            segment), and ``learn`` [B, T+1] bool, the tokens to be learnt; without it, all but the first are.
            ``rope_base`` [B] float32 replaces the configuration's.

    Returns:
        Nats per learnt token, and no further metrics.
    """
    tokens = batch["tokens"]
    mask = None
    if "segments" in batch:
        inside = batch["segments"][:, :-1]
        mask = inside[:, :, None] == inside[:, None, :]
    hidden = decoder.hidden(
        tokens[:, :-1], positions=batch.get("positions"), mask=mask, rope_base=batch.get("rope_base")
    )
    return linear_cross_entropy(hidden, decoder.embedding[...], tokens[:, 1:], _learnt(batch)), {}


def learnt_tokens(batch: Mapping[str, jax.Array]) -> jax.Array:
    """How many targets ``next_token_loss`` is a mean over, scalar float32."""
    return jnp.sum(_learnt(batch).astype(jnp.float32))


def _learnt(batch: Mapping[str, jax.Array]) -> jax.Array:
    """[B, T] bool, which targets count."""
    return batch["learn"][:, 1:] if "learn" in batch else jnp.ones_like(batch["tokens"][:, 1:], bool)
