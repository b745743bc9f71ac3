"""Continuous batching: generates many answers at once, one per row of one key-value cache; rows start and end
independently.

A server cannot use ``generate``, which takes a whole batch and returns it whole. Here a request is put into a free row
when it arrives (``admit``), every ``step`` adds one token to each busy row, and a row is free again as soon as its
answer ends. All requests that hold a row advance at the same pace, and eight answers cost
little more than one, because decoding is bound by reading the weights.

Each row draws its random numbers from its own seed and its own count of tokens, and the shapes never depend on how
many rows are busy, so a request with a seed gets the same answer on an idle server and on a busy one. Shapes are
fixed (one step; prompts padded to a few lengths; scores of a prompt in pieces of one length), so after ``warm_up``
nothing is compiled while users wait.

References:
  Yu et al. 2022, Orca, OSDI, section 3.1 (iteration-level scheduling).
  Holtzman et al. 2020, arXiv 1904.09751, section 3.1 (nucleus sampling).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from millrace.model.network.attention import Cache, init_cache
from millrace.model.network.decoder import Decoder

from .generate import nucleus

PROMPT_BUCKETS = (32, 128)  # then doubling; each is compiled once, and short prompts are cheap to pad
TOP_CANDIDATES = 20  # as many alternatives as OpenAI's API lets a client ask for
SCORED_TOKENS = 64  # of a prompt at once: their logits are the largest array there is


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one answer are chosen.

    Attributes:
        temperature: 0 takes the likeliest token, 1 samples the model's distribution.
        top_p: Samples only among the likeliest tokens that hold this share of the probability.
        seed: Seed of the row's random numbers; only its low 32 bits count.
        candidates: How many alternatives to report per token, at most ``TOP_CANDIDATES``.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    candidates: int = 0


@dataclass(frozen=True)
class Token:
    """One token of an answer.

    Attributes:
        token: Its id.
        log_prob: Its log probability under the model (at temperature 1, before top_p), in nats.
        candidates: The likeliest ids with their log probabilities, likeliest first; as many as were asked for.
    """

    token: int
    log_prob: float
    candidates: tuple[tuple[int, float], ...] = ()


class Admitted(NamedTuple):
    """A prompt that has been read.

    Attributes:
        row: Where its answer grows.
        token: The answer's first token.
        scores: The prompt's own tokens but the first, each given those before it; empty unless they were asked for.
    """

    row: int
    token: Token
    scores: tuple[Token, ...]


def _choose(logits: jax.Array, control: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The next token of each row.

    Args:
        logits: [R, V] float32.
        control: Per row [R]: ``temperature``, ``top_p`` float32, ``seed`` uint32, ``drawn`` int32 (tokens drawn so
            far), ``candidates`` int32.

    Returns:
        ``token`` int32 [R], ``log_prob`` float32 [R], ``top_tokens`` int32 and ``top_log_probs`` float32
        [R, TOP_CANDIDATES] (zeros when no row asks).
    """
    temperature, top_p = control["temperature"], control["top_p"]
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    greedy = jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def sample(_: None) -> jax.Array:
        scaled = logits / jnp.maximum(temperature, 1e-4)[:, None]
        scaled = jax.lax.cond(jnp.any(top_p < 1), lambda: nucleus(scaled, top_p), lambda: scaled)
        keys = jax.vmap(lambda seed, drawn: jax.random.fold_in(jax.random.key(seed), drawn))(
            control["seed"], control["drawn"]
        )
        drawn = jax.vmap(jax.random.categorical)(keys, scaled).astype(jnp.int32)
        return jnp.where(temperature > 0, drawn, greedy)

    # Greedy rows must not pay for random numbers over the vocabulary, nor sampled ones for a sort.
    token = jax.lax.cond(jnp.any(temperature > 0), sample, lambda _: greedy, None)
    return _with_candidates(token, log_probs, jnp.any(control["candidates"] > 0))


def _with_candidates(tokens: jax.Array, log_probs: jax.Array, wanted: jax.Array) -> dict[str, jax.Array]:
    """Tokens [R] with their values in ``log_probs`` [R, V], and the likeliest others (zeros unless ``wanted``)."""
    count = min(TOP_CANDIDATES, log_probs.shape[-1])
    rows = log_probs.shape[0]

    def alternatives() -> tuple[jax.Array, jax.Array]:
        values, indices = jax.lax.top_k(log_probs, count)
        return indices.astype(jnp.int32), values

    def none() -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((rows, count), jnp.int32), jnp.zeros((rows, count), jnp.float32)

    top_tokens, top_log_probs = jax.lax.cond(wanted, alternatives, none)
    return {
        "token": tokens,
        "log_prob": jnp.take_along_axis(log_probs, tokens[:, None], axis=-1)[:, 0],
        "top_tokens": top_tokens,
        "top_log_probs": top_log_probs,
    }


_choose_first = jax.jit(_choose)  # apart from the prefill, which is compiled once per bucket


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _prefill(
    graph: Any, weights: Any, cache: Cache, tokens: jax.Array, length: jax.Array, row: jax.Array
) -> tuple[Cache, jax.Array, jax.Array]:
    """Reads a prompt [1, T] (``length`` valid tokens) into a row of the cache.

    Returns:
        The cache, the prompt's last logits [1, V] and its hidden states [T, D].
    """
    decoder: Decoder = nnx.merge(graph, weights)
    fresh = init_cache(decoder.config, 1, decoder.config.max_sequence_tokens)
    valid = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :] < length
    hidden, fresh = decoder.extend(tokens, fresh, mask=valid)
    last = jax.lax.dynamic_index_in_dim(hidden[0], length - 1, keepdims=True)
    cache = Cache(
        keys=cache.keys.at[:, row].set(fresh.keys[:, 0]),
        values=cache.values.at[:, row].set(fresh.values[:, 0]),
        lengths=cache.lengths.at[row].set(length),
    )
    return cache, decoder.unembed(last), hidden[0]


@partial(jax.jit, static_argnums=0)
def _score(
    graph: Any, weights: Any, hidden: jax.Array, targets: jax.Array, wanted: jax.Array
) -> dict[str, jax.Array]:
    """The given next tokens [N] after hidden states [N, D], in the form of ``_choose``."""
    decoder: Decoder = nnx.merge(graph, weights)
    log_probs = jax.nn.log_softmax(decoder.unembed(hidden), axis=-1)
    return _with_candidates(targets, log_probs, wanted)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _step(
    graph: Any, weights: Any, cache: Cache, tokens: jax.Array, busy: jax.Array, control: Any
) -> tuple[Cache, dict[str, jax.Array]]:
    """Feeds one token [R] to every busy row and chooses the next; idle rows are computed and ignored."""
    decoder: Decoder = nnx.merge(graph, weights)
    logits, cache = decoder(tokens[:, None], cache=cache, mask=busy[:, None])
    return cache, _choose(logits[:, 0], control)


def _buckets(capacity_tokens: int) -> list[int]:
    """The lengths that prompts are padded to, ascending; the last is the capacity."""
    sizes = [size for size in PROMPT_BUCKETS if size < capacity_tokens]
    size = 2 * PROMPT_BUCKETS[-1]
    while size < capacity_tokens:
        sizes.append(size)
        size *= 2
    return [*sizes, capacity_tokens]


class ContinuousBatch:
    """The rows in which answers grow. Not thread-safe: one thread owns it.

    Args:
        decoder: The model.
        rows: How many answers grow at once.

    Attributes:
        capacity_tokens: Longest prompt and answer together.
    """

    def __init__(self, decoder: Decoder, rows: int = 8) -> None:
        if rows < 1:
            raise ValueError(f"got {rows} rows, expected at least 1")
        self.capacity_tokens = decoder.config.max_sequence_tokens
        self._graph, self._weights = nnx.split(decoder)
        self._config, self._rows = decoder.config, rows
        self._buckets = _buckets(self.capacity_tokens)
        self.reset()

    def reset(self) -> None:
        """Frees every row and makes a new cache: after a failed step the old one may be lost."""
        rows = self._rows
        self._cache = init_cache(self._config, rows, self.capacity_tokens)
        self._busy = np.zeros(rows, bool)
        self._last = np.zeros(rows, np.int32)
        self._control = {
            "temperature": np.zeros(rows, np.float32),
            "top_p": np.ones(rows, np.float32),
            "seed": np.zeros(rows, np.uint32),
            "drawn": np.zeros(rows, np.int32),
            "candidates": np.zeros(rows, np.int32),
        }

    @property
    def free_rows(self) -> int:
        """How many more requests can be admitted now."""
        return int((~self._busy).sum())

    @property
    def busy_rows(self) -> tuple[int, ...]:
        """The rows in which an answer grows."""
        return tuple(int(row) for row in np.flatnonzero(self._busy))

    def admit(self, prompt: Sequence[int], sampling: Sampling, *, scored: bool = False) -> Admitted:
        """Reads a prompt into a free row.

        Args:
            prompt: 1 to ``capacity_tokens`` ids of the vocabulary.
            sampling: How to choose the answer's tokens.
            scored: Whether to score the prompt's own tokens too.

        Raises:
            ValueError: The prompt's length or an id does not fit, or no row is free.
        """
        if not 1 <= len(prompt) <= self.capacity_tokens:
            raise ValueError(f"got a prompt of {len(prompt)} tokens, expected 1 to {self.capacity_tokens}")
        if not all(0 <= token < self._config.vocab_size for token in prompt):
            raise ValueError(f"got a token outside the vocabulary of {self._config.vocab_size}")
        if not self.free_rows:
            raise ValueError("got a prompt while every row is busy, expected a call to release first")
        row = int(np.flatnonzero(~self._busy)[0])
        values = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed & 0xFFFFFFFF,
            "drawn": 0,
            "candidates": sampling.candidates,
        }
        for name, value in values.items():
            self._control[name][row] = value
        bucket = next(size for size in self._buckets if size >= len(prompt))
        padded = np.zeros((1, bucket), np.int32)
        padded[0, : len(prompt)] = prompt
        one = {name: array[row : row + 1].copy() for name, array in self._control.items()}
        self._cache, logits, hidden = _prefill(
            self._graph, self._weights, self._cache, padded, np.int32(len(prompt)), np.int32(row)
        )
        self._busy[row] = True
        scores = self._scores(prompt, np.asarray(hidden), sampling.candidates) if scored else ()
        return Admitted(row, self._take(row, jax.device_get(_choose_first(logits, one)), 0), scores)

    def step(self) -> dict[int, Token]:
        """Adds one token to every busy row; the caller releases rows that ended or are full.

        Returns:
            Row -> its new token.
        """
        if not self._busy.any():
            return {}
        control = {name: array.copy() for name, array in self._control.items()}
        self._cache, chosen = _step(
            self._graph, self._weights, self._cache, self._last.copy(), self._busy.copy(), control
        )
        on_host = jax.device_get(chosen)
        return {row: self._take(row, on_host, row) for row in self.busy_rows}

    def release(self, row: int) -> None:
        """Frees a row: its answer has ended or nobody wants it any more."""
        self._busy[row] = False
        for name, idle in (("temperature", 0), ("top_p", 1), ("candidates", 0)):
            self._control[name][row] = idle

    def warm_up(self) -> None:
        """Compiles every shape that serving can need, so that no user waits for it."""
        for length in self._buckets:
            row = self.admit([0] * length, Sampling()).row
            self.release(row)
        row = self.admit([0, 0], Sampling(), scored=True).row
        self.step()
        self.release(row)

    def _scores(self, prompt: Sequence[int], hidden: np.ndarray, candidates: int) -> tuple[Token, ...]:
        """A prompt's tokens but the first, from its hidden states [T, D]."""
        scores: list[Token] = []
        for start in range(0, len(prompt) - 1, SCORED_TOKENS):
            targets = prompt[start + 1 : start + 1 + SCORED_TOKENS]
            padded = np.zeros(SCORED_TOKENS, np.int32)
            padded[: len(targets)] = targets
            states = np.zeros((SCORED_TOKENS, hidden.shape[1]), hidden.dtype)
            states[: len(targets)] = hidden[start : start + len(targets)]
            scored = jax.device_get(
                _score(self._graph, self._weights, states, padded, np.bool_(candidates > 0))
            )
            scores += [_token(scored, index, candidates) for index in range(len(targets))]
        return tuple(scores)

    def _take(self, row: int, chosen: dict[str, np.ndarray], index: int) -> Token:
        """Notes a row's new token and hands it over."""
        token = _token(chosen, index, int(self._control["candidates"][row]))
        self._last[row] = token.token
        self._control["drawn"][row] += 1
        return token


def _token(chosen: dict[str, np.ndarray], index: int, candidates: int) -> Token:
    """One row of what ``_choose`` and ``_score`` return."""
    likeliest = zip(
        chosen["top_tokens"][index][:candidates], chosen["top_log_probs"][index][:candidates], strict=True
    )
    return Token(
        token=int(chosen["token"][index]),
        log_prob=float(chosen["log_prob"][index]),
        candidates=tuple((int(other), float(log_prob)) for other, log_prob in likeliest),
    )
