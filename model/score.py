"""Log-probabilities of given text: multiple choice, bits per byte, preference rewards.

Rows of like length go together (see ``buckets``), and the logits of a batch are never kept: only each target's
log-probability leaves the device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from .buckets import batches_by_length, pad_rows
from .loss import token_log_probs
from .network import Decoder

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
) -> list[tuple[float, int]]:
    """Log-probability of each continuation after its prompt.

    Prompts that leave too little room are cut at their left end.

    Args:
        decoder: The model.
        prompts: Token ids, at least one each (a beginning- or end-of-sequence token for an unconditional score).
        continuations: Token ids to score, one list per prompt.
        batch_tokens: Most tokens of one batch.

    Returns:
        (sum of log-probabilities in nats, number of tokens) per continuation.

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
    scored = row_log_probs(decoder, rows, batch_tokens=batch_tokens)
    return [
        (float(np.sum(values[len(values) - len(continuation) :], dtype=np.float64)), len(continuation))
        for values, continuation in zip(scored, continuations, strict=True)
    ]


def text_nats(
    decoder: Decoder,
    documents: Sequence[Sequence[int]],
    *,
    start_id: int,
    window_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[float]:
    """Total negative log-likelihood of each document, every token counted once.

    A document is cut into windows; each sees the last token of the one before and nothing earlier, and the first
    sees ``start_id``, which in training is the end-of-sequence token between documents. Bits per byte is the result
    over ln 2 over the number of UTF-8 bytes.

    Args:
        decoder: The model.
        documents: Token ids of each document.
        start_id: Token before the first.
        window_tokens: Tokens predicted per window; ``max_sequence_tokens`` by default.
        batch_tokens: Most tokens of one batch.

    Returns:
        Nats per document.
    """
    window = window_tokens or decoder.config.max_sequence_tokens
    rows: list[list[int]] = []
    owners: list[int] = []
    for index, document in enumerate(documents):
        stream = [start_id, *document]
        for begin in range(0, len(document), window):
            rows.append(stream[begin : begin + window + 1])
            owners.append(index)
    nats = [0.0] * len(documents)
    for owner, values in zip(owners, row_log_probs(decoder, rows, batch_tokens=batch_tokens), strict=True):
        nats[owner] -= float(np.sum(values, dtype=np.float64))
    return nats
