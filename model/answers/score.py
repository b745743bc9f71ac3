"""Log-probabilities of given text: multiple choice, bits per byte, preference rewards.

Rows of similar length are batched together (see ``padding``), and the logits of a batch are never kept: only each
target's log-probability leaves the device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from millrace.model.losses.cross_entropy import token_log_probs
from millrace.model.network.decoder import Decoder

from .padding import batches_by_length, pad_rows

BATCH_TOKENS = 4096
CHUNK_TOKENS = 512


@functools.partial(jax.jit, static_argnames="graph")
def _target_log_probs(graph: nnx.GraphDef, state: nnx.State, tokens: jax.Array) -> jax.Array:
    """[B, T-1] float32: log-probability of each token but the first, given those before it."""
    decoder: Decoder = nnx.merge(graph, state)
    hidden = decoder.hidden(tokens[:, :-1])
    targets = tokens[:, 1:]
    size = min(CHUNK_TOKENS, targets.size)
    padding = -targets.size % size
    states = jnp.pad(hidden.reshape(targets.size, -1), ((0, padding), (0, 0))).reshape(
        -1, size, hidden.shape[-1]
    )
    wanted = jnp.pad(targets.reshape(-1), (0, padding)).reshape(-1, size)

    def chunk(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        return token_log_probs(decoder.unembed(part[0]), part[1])

    return jax.lax.map(chunk, (states, wanted)).reshape(-1)[: targets.size].reshape(targets.shape)


def row_log_probs(
    decoder: Decoder, rows: Sequence[Sequence[int]], *, batch_tokens: int = BATCH_TOKENS
) -> list[np.ndarray]:
    """Log-probability of every token but the first of each row.

    Args:
        decoder: The model.
        rows: Token ids; at least one each, at most ``max_sequence_tokens`` + 1 (the last is only predicted).
        batch_tokens: Most tokens of one batch.

    Returns:
        For each row a float32 array [len(row) - 1], nats.

    Raises:
        ValueError: A row is empty or too long.
    """
    limit = decoder.config.max_sequence_tokens + 1
    for row in rows:
        if not 1 <= len(row) <= limit:
            raise ValueError(f"a row has {len(row)} tokens, expected 1 to {limit}")
    graph, state = nnx.split(decoder)
    scored: list[np.ndarray] = [np.zeros(0, np.float32)] * len(rows)
    # Widths are buckets of inputs: one less than the row, because its last token is only predicted.
    lengths = [len(row) - 1 for row in rows]
    for count, width, members in batches_by_length(lengths, limit - 1, batch_tokens):
        tokens = pad_rows([rows[i] for i in members], count, width + 1)
        values = np.asarray(_target_log_probs(graph, state, jnp.asarray(tokens)))
        for line, index in enumerate(members):
            scored[index] = values[line, : lengths[index]].copy()
    return scored


def sequence_log_probs(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability of each continuation after its prompt.

    Prompts that leave too little room are cut at their left end.

    Args:
        decoder: The model.
        prompts: Token ids, at least one each (a beginning- or end-of-sequence token for an unconditional score).
        continuations: Token ids to score, one list per prompt.
        batch_tokens: Most tokens of one batch.

    Returns:
        Per continuation the sum of its tokens' log-probabilities, float64 nats, and its number of tokens, int64.

    Raises:
        ValueError: A prompt is empty, or a continuation alone exceeds ``max_sequence_tokens``.
    """
    limit = decoder.config.max_sequence_tokens
    rows = []
    for prompt, continuation in zip(prompts, continuations, strict=True):
        if not prompt:
            raise ValueError("a prompt is empty, expected at least one token")
        if len(continuation) > limit:
            raise ValueError(f"a continuation has {len(continuation)} tokens, expected at most {limit}")
        rows.append([*prompt[-(limit + 1 - len(continuation)) :], *continuation])
    counts = np.asarray([len(continuation) for continuation in continuations], np.int64)
    scored = row_log_probs(decoder, rows, batch_tokens=batch_tokens)
    sums = [
        np.sum(values[len(values) - count :], dtype=np.float64)
        for values, count in zip(scored, counts, strict=True)
    ]
    return np.asarray(sums, np.float64), counts


def windows(tokens: Sequence[int], window_tokens: int) -> list[Sequence[int]]:
    """Cuts a document so that every token but the first is predicted exactly once.

    A window's first token is the last of the window before: it is seen there, not predicted, and nothing earlier is.

    Args:
        tokens: The document's tokens after the boundary token that begins it.
        window_tokens: Most tokens that a window predicts.
    """
    return [tokens[start : start + window_tokens + 1] for start in range(0, len(tokens) - 1, window_tokens)]


def text_nats(
    decoder: Decoder, rows: Sequence[Sequence[int]], *, batch_tokens: int = BATCH_TOKENS
) -> np.ndarray:
    """Negative log-likelihood of each window of text; see ``windows``.

    Bits per byte are these, summed over a text, over ln 2 and the text's UTF-8 bytes.

    Args:
        decoder: The model.
        rows: Token ids; the first of each is only context.
        batch_tokens: Most tokens of one batch.

    Returns:
        float64 [len(rows)], nats.
    """
    scored = row_log_probs(decoder, rows, batch_tokens=batch_tokens)
    return np.asarray([-np.sum(values, dtype=np.float64) for values in scored], np.float64)
