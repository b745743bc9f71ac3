"""Sampling with a key-value cache, in few compiled shapes.

Prompts are padded to a bucket on the right, prefilled at once, and decoded in one loop on the device that ends when the
last row has stopped. Each row draws from its own key, made from the seed and the row's id alone, so that a sample does
not depend on the rest of its batch.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from millrace.model.losses.cross_entropy import token_log_probs
from millrace.model.network.attention import Cache, init_cache
from millrace.model.network.decoder import Decoder

from .padding import SMALLEST_TOKENS, batches_by_length, pad_rows, padded_length

BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class Samples:
    """The generated texts.

    Attributes:
        tokens: New tokens per prompt; a stop token, when one came, is the last.
        log_probs: Of each new token under the model itself (temperature 1, all of the vocabulary), nats.
        stopped: Whether the row ended with a stop token rather than for want of room.
    """

    tokens: list[list[int]]
    log_probs: list[list[float]]
    stopped: list[bool]


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


def choose(logits: jax.Array, keys: jax.Array, temperature: jax.Array, top_p: jax.Array | None) -> jax.Array:
    """Draws one token per row.

    Args:
        logits: [B, V] float32.
        keys: [B] PRNG keys.
        temperature: Scalar float32; 0 takes the most likely token.
        top_p: Scalar float32, or None for the whole vocabulary: see ``nucleus``, after the temperature.

    Returns:
        [B] int32.
    """

    def draw() -> jax.Array:
        scaled = logits / jnp.maximum(temperature, 1e-6)
        if top_p is not None:
            scaled = nucleus(scaled, jnp.broadcast_to(top_p, logits.shape[:1]))
        return jax.vmap(jax.random.categorical)(keys, scaled)

    # Greedy decoding must not pay for random numbers over the vocabulary.
    return jax.lax.cond(temperature > 0, draw, lambda: jnp.argmax(logits, axis=-1)).astype(jnp.int32)


def _prefill(
    decoder: Decoder, tokens: jax.Array, lengths: jax.Array, room_tokens: int
) -> tuple[jax.Array, Cache]:
    """Logits after each row's last real token, [B, V], and the cache."""
    cache = init_cache(decoder.config, tokens.shape[0], room_tokens)
    mask = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :] < lengths[:, None]
    hidden, cache = decoder.extend(tokens, cache, mask=mask)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return decoder.unembed(last), cache


@functools.partial(jax.jit, static_argnames=("graph", "max_new_tokens"))
def _generate(
    graph: nnx.GraphDef,
    state: nnx.State,
    tokens: jax.Array,
    lengths: jax.Array,
    limits: jax.Array,
    keys: jax.Array,
    temperature: jax.Array,
    top_p: jax.Array | None,
    stop_ids: jax.Array,
    max_new_tokens: int,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """New tokens [B, max_new_tokens], their log-probabilities, counts [B], and whether each row stopped [B]."""
    decoder: Decoder = nnx.merge(graph, state)
    logits, cache = _prefill(decoder, tokens, lengths, tokens.shape[1] + max_new_tokens)
    rows = tokens.shape[0]

    def unfinished(carry: tuple[Any, ...]) -> jax.Array:
        step, *_, count, stopped = carry
        return (step < max_new_tokens) & jnp.any(~stopped & (count < limits))

    def advance(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        step, logits, cache, out, log_probs, count, stopped = carry
        active = ~stopped & (count < limits)
        token = choose(
            logits, jax.vmap(jax.random.fold_in)(keys, jnp.full((rows,), step)), temperature, top_p
        )
        out = out.at[:, step].set(jnp.where(active, token, 0))
        log_probs = log_probs.at[:, step].set(jnp.where(active, token_log_probs(logits, token), 0.0))
        count = count + active.astype(jnp.int32)
        stopped = stopped | (active & jnp.any(token[:, None] == stop_ids[None, :], axis=1))
        next_logits, cache = decoder(token[:, None], cache=cache, mask=active[:, None])
        return step + 1, next_logits[:, 0], cache, out, log_probs, count, stopped

    start = (
        jnp.zeros((), jnp.int32),
        logits,
        cache,
        jnp.zeros((rows, max_new_tokens), jnp.int32),
        jnp.zeros((rows, max_new_tokens), jnp.float32),
        jnp.zeros((rows,), jnp.int32),
        jnp.zeros((rows,), bool),
    )
    *_, out, log_probs, count, stopped = jax.lax.while_loop(unfinished, advance, start)
    return out, log_probs, count, stopped


def _row_keys(seed: int, sample_ids: Sequence[int]) -> jax.Array:
    ids = jnp.asarray(np.asarray(sample_ids, np.uint32))
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), ids)


def _cut(prompt: Sequence[int], limit: int) -> list[int]:
    if not prompt:
        raise ValueError("a prompt is empty, expected at least one token")
    return list(prompt[-limit:])


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    top_p: float = 1.0,
    stop_ids: Sequence[int] = (),
    sample_ids: Sequence[int] | None = None,
    batch_tokens: int = BATCH_TOKENS,
    width_tokens: int = SMALLEST_TOKENS,
) -> Samples:
    """Continues each prompt.

    Args:
        decoder: The model.
        prompts: Token ids, at least one each. A prompt that leaves no room for ``max_new_tokens`` within
            ``max_sequence_tokens`` is cut at its left end.
        max_new_tokens: Most tokens to add; less than ``max_sequence_tokens``.
        temperature: 0 is greedy.
        seed: With the sample id it determines a row's draws.
        top_p: Nucleus; 1 draws from the whole vocabulary.
        stop_ids: Tokens that end a row.
        sample_ids: Row ids; the prompts' indices by default. Pass them to draw the same sample in another batch.
        batch_tokens: Most tokens (prompt and new, padded) of one batch.
        width_tokens: Prompts are padded to at least this many tokens. Padding to the longest prompt gives one shape and
            one compilation, for a training that samples in every step.

    Returns:
        The samples, in the order of the prompts.

    Raises:
        ValueError: A prompt is empty, or the lengths do not fit the model.
    """
    limit = decoder.config.max_sequence_tokens
    if not 1 <= max_new_tokens < limit:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, expected 1 to {limit - 1}")
    graph, state = nnx.split(decoder)
    cut = [_cut(prompt, limit - max_new_tokens) for prompt in prompts]
    keys = _row_keys(seed, range(len(prompts)) if sample_ids is None else sample_ids)
    new_room = padded_length(max_new_tokens, 16)
    # Never empty: no token is -1, and up to four stop tokens share a program.
    stops = jnp.asarray([*stop_ids, *[-1] * (max(4, len(stop_ids)) - len(stop_ids))], jnp.int32)
    samples = Samples([[]] * len(cut), [[]] * len(cut), [False] * len(cut))
    prompt_share = max(batch_tokens // (limit + new_room), 1) * limit
    for count, width, members in batches_by_length(
        [len(p) for p in cut], limit, prompt_share, smallest=width_tokens
    ):
        # Padding rows repeat the first prompt with no room, so they end at once.
        picked = np.asarray(members + [members[0]] * (count - len(members)))
        out, log_probs, counts, stopped = jax.device_get(
            _generate(
                graph,
                state,
                jnp.asarray(pad_rows([cut[i] for i in picked], count, width)),
                jnp.asarray([len(cut[i]) for i in picked], jnp.int32),
                jnp.asarray([max_new_tokens] * len(members) + [0] * (count - len(members)), jnp.int32),
                keys[picked],
                jnp.float32(temperature),
                None if top_p >= 1.0 else jnp.float32(top_p),
                stops,
                new_room,
            )
        )
        for line, index in enumerate(members):
            samples.tokens[index] = out[line, : counts[line]].tolist()
            samples.log_probs[index] = log_probs[line, : counts[line]].tolist()
            samples.stopped[index] = bool(stopped[line])
    return samples
