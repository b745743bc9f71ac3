"""Next-token losses, in nats.

Training uses ``linear_cross_entropy``, which never holds the logits of a whole batch: they are the largest array of a
small model's step (B 16, T 256, V 8192: 134 MB, several times over in the backward pass) and a step spends its time
moving them. It takes a few rows at a time and computes their gradient right away. ``linear_loss`` does so for any loss
of logits.

Where a loss is differentiated, the target's logit is picked by comparing with an index instead of gathering: the
comparison fuses into the softmax and its gradient, where a gather's gradient is a scatter into [B, T, V].
``hard_targets`` computes the gradient by hand and gathers, which saves a pass over the logits of a chunk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from millrace.model.network.linear import soft_cap

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


@dataclass(frozen=True)
class LogitTerms:
    """Options of the loss besides logits and targets.

    Attributes:
        soft_cap: Their bound; None is none.
        z_loss: Weight of the mean squared log-normaliser, which keeps logits from drifting.
        chunk_tokens: Tokens whose logits are held at once. By default 512, and more where that would make more than 16
            chunks: every chunk adds to the gradient of the whole table, so many small chunks spend their time moving
                it.

    References:
        Chowdhery et al. 2022, PaLM, arXiv 2204.02311, section 5 (z-loss of 1e-4).
    """

    soft_cap: float | None = None
    z_loss: float = 0.0
    chunk_tokens: int | None = None


Metrics = Mapping[str, jax.Array]
RowLoss = Callable[[jax.Array, Any, Any, LogitTerms], tuple[jax.Array, Metrics, jax.Array]]
"""What ``linear_loss`` takes the mean of: ``(logits [C, V] float32, parts [C, ...], shared, terms)``, the logits capped
and the parts those of C positions, to losses [C], what else is measured [C], and the losses' slopes by logit [C, V]."""


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
    """
    return linear_loss(hidden, embedding, targets, None, mask, _next_token, terms)[0]  # pyright: ignore[reportIndexIssue]  # functools.partial hides what custom_vjp returns


def _next_token(
    logits: jax.Array, wanted: jax.Array, shared: None, terms: LogitTerms
) -> tuple[jax.Array, Metrics, jax.Array]:
    losses, normaliser, probability, hit = hard_targets(logits, wanted)
    if terms.z_loss:
        losses += terms.z_loss * normaliser**2
        probability *= 1.0 + 2.0 * terms.z_loss * normaliser[:, None]
    return losses, {}, probability - hit


def hard_targets(logits: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Cross-entropy with the target tokens, and the parts of its gradient.

    Args:
        logits: [C, V] float32.
        wanted: [C] int32.

    Returns:
        Losses [C], log-normalisers [C], probabilities [C, V] and 1 at the targets [C, V]; the slope is the difference
        of the last two.
    """
    hit = jnp.arange(logits.shape[-1], dtype=wanted.dtype) == wanted[:, None]
    normaliser = jax.nn.logsumexp(logits, axis=-1)
    losses = normaliser - jnp.take_along_axis(logits, wanted[:, None], axis=-1)[:, 0]
    return losses, normaliser, jnp.exp(logits - normaliser[:, None]), hit.astype(jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def linear_loss(
    hidden: jax.Array,
    embedding: jax.Array,
    parts: Any,
    shared: Any,
    mask: jax.Array,
    row_loss: RowLoss,
    terms: LogitTerms,
) -> tuple[jax.Array, Metrics]:
    """Mean loss of the logits ``hidden @ embedding.T``, in chunks of tokens.

    Args:
        hidden: [B, T, D] final normed states.
        embedding: [V, D] float32.
        parts: Pytree of [B, T, ...], the targets that the loss compares the logits with; not differentiated.
        shared: Pytree of arrays that the loss of any position takes; not differentiated.
        mask: [B, T] bool, the positions that count.
        row_loss: The loss and its slope.
        terms: Soft cap, size of the chunks, and what ``row_loss`` takes of them.

    Returns:
        The mean loss, scalar float32, 0 when nothing counts; and the means of what else is measured, which have no
        gradient.

    References:
        Hsu et al. 2024, Liger Kernel, arXiv 2410.10989, section 3.2 (fused linear cross-entropy: the gradient of a
        chunk is formed in the forward pass).
    """
    table = embedding.astype(hidden.dtype)

    def chunk(_: None, part: Any) -> tuple[None, tuple[jax.Array, Metrics]]:
        return None, _of_chunk(part, table, shared, row_loss, terms)[0]

    sums = jax.lax.scan(chunk, None, _chunks(hidden, parts, mask, terms.chunk_tokens))[1]
    return _totals(sums)


def _of_chunk(
    part: Any, table: jax.Array, shared: Any, row_loss: RowLoss, terms: LogitTerms
) -> tuple[tuple[jax.Array, Metrics], jax.Array]:
    """Weighted sums of a chunk, and the slope of the first by logit before the soft cap, [C, V]."""
    states, given, weights = part
    logits = jnp.einsum("CD,VD->CV", states, table, preferred_element_type=jnp.float32)
    logits = soft_cap(logits, terms.soft_cap)
    losses, metrics, error = row_loss(logits, given, shared, terms)
    error *= weights[:, None]
    if terms.soft_cap is not None:
        error *= 1.0 - (logits / terms.soft_cap) ** 2
    sums = jax.tree.map(lambda values: jnp.sum(values * weights), (losses, metrics))
    return sums, error.astype(states.dtype)


def _totals(sums: tuple[jax.Array, Metrics]) -> tuple[jax.Array, Metrics]:
    """Of [chunks] each."""
    totals: tuple[jax.Array, Metrics] = jax.tree.map(jnp.sum, sums)
    return totals


def _chunks(
    hidden: jax.Array, parts: Any, mask: jax.Array, chunk_tokens: int | None
) -> tuple[jax.Array, Any, jax.Array]:
    """States [chunks, C, D], parts [chunks, C, ...] and weights [chunks, C] that sum to one."""
    weights = mask.astype(jnp.float32)
    weights = weights / jnp.maximum(jnp.sum(weights), 1.0)
    split: tuple[jax.Array, Any, jax.Array] = jax.tree.map(
        functools.partial(split_time, chunk_tokens=chunk_tokens), (hidden, parts, weights)
    )
    return split


def split_time(x: jax.Array, chunk_tokens: int | None = None) -> jax.Array:
    """[B, T, ...] to [chunks, C, ...], with zeros after the last position; ``chunk_tokens`` as in ``LogitTerms``.

    A chunk is a stretch of positions of all rows, so that on a mesh each device has its rows in every chunk.
    """
    b, t = x.shape[:2]
    span = min(max((chunk_tokens or max(CHUNK_TOKENS, b * t // MOST_CHUNKS)) // b, 1), t)
    padded = jnp.pad(x, [(0, 0), (0, -t % span)] + [(0, 0)] * (x.ndim - 2))
    return padded.reshape(b, -1, span, *x.shape[2:]).swapaxes(0, 1).reshape(-1, b * span, *x.shape[2:])


def join_time(chunks: jax.Array, b: int, t: int) -> jax.Array:
    """The inverse of ``split_time``: [chunks, C, ...] to [B, T, ...]."""
    rest = chunks.shape[2:]
    return chunks.reshape(chunks.shape[0], b, -1, *rest).swapaxes(0, 1).reshape(b, -1, *rest)[:, :t]


def _forward(
    hidden: jax.Array,
    embedding: jax.Array,
    parts: Any,
    shared: Any,
    mask: jax.Array,
    row_loss: RowLoss,
    terms: LogitTerms,
) -> tuple[tuple[jax.Array, Metrics], tuple[jax.Array, jax.Array]]:
    table = embedding.astype(hidden.dtype)

    def chunk(slope: jax.Array, part: Any) -> tuple[jax.Array, tuple[tuple[jax.Array, Metrics], jax.Array]]:
        sums, error = _of_chunk(part, table, shared, row_loss, terms)
        slope += jnp.einsum("CV,CD->VD", error, part[0], preferred_element_type=jnp.float32)
        return slope, (sums, jnp.einsum("CV,VD->CD", error, table))

    start = jnp.zeros(embedding.shape, jnp.float32)
    slope, (sums, states_slope) = jax.lax.scan(chunk, start, _chunks(hidden, parts, mask, terms.chunk_tokens))
    return _totals(sums), (join_time(states_slope, *hidden.shape[:2]), slope)


def _backward(
    row_loss: RowLoss,
    terms: LogitTerms,
    slopes: tuple[jax.Array, jax.Array],
    scales: tuple[jax.Array, Metrics],
) -> tuple[jax.Array, jax.Array, None, None, None]:
    states_slope, slope = slopes
    scale, _ = scales
    return states_slope * scale.astype(states_slope.dtype), slope * scale, None, None, None


linear_loss.defvjp(_forward, _backward)
