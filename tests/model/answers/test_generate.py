"""Samples follow the model's distribution, depend on nothing but their seed and id, and end where they should."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from millrace.model.answers.generate import choose, generate, nucleus
from millrace.model.answers.score import row_log_probs
from millrace.model.network.decoder import Decoder

PROMPTS = [[1, 2, 3], [4], [5] * 20, [6, 7] * 20]
SETTINGS: dict[str, Any] = {"max_new_tokens": 16, "seed": 3, "width_tokens": 48}


def test_greedy_takes_the_most_likely_token(small_decoder: Decoder) -> None:
    """Every token is the best by a full forward pass, and its reported log-probability is the scored one."""
    samples = generate(small_decoder, PROMPTS, temperature=0.0, **SETTINGS)
    rows = [[*prompt, *tokens] for prompt, tokens in zip(PROMPTS, samples.tokens, strict=True)]
    for prompt, row, reported, scored in zip(
        PROMPTS, rows, samples.log_probs, row_log_probs(small_decoder, rows), strict=True
    ):
        assert len(row) == len(prompt) + 16
        np.testing.assert_allclose(reported, scored[len(prompt) - 1 :], atol=2e-6)
    padded = np.zeros((4, 64), np.int32)
    for line, row in enumerate(rows):
        padded[line, : len(row)] = row
    best = np.argmax(jax.jit(lambda ids: small_decoder(ids))(jnp.asarray(padded)), axis=-1)
    for line, (prompt, tokens) in enumerate(zip(PROMPTS, samples.tokens, strict=True)):
        assert best[line, len(prompt) - 1 : len(prompt) + 15].tolist() == tokens


def test_a_sample_does_not_depend_on_its_company(small_decoder: Decoder) -> None:
    """The same id and seed give the same tokens in a batch of four, alone, and in the smallest buckets; another seed does not."""
    together = generate(small_decoder, PROMPTS, temperature=1.0, **SETTINGS)
    alone = generate(small_decoder, PROMPTS[2:3], temperature=1.0, sample_ids=[2], **SETTINGS)
    narrow = generate(small_decoder, PROMPTS, temperature=1.0, max_new_tokens=16, seed=3)
    other = generate(small_decoder, PROMPTS, temperature=1.0, **dict(SETTINGS, seed=4))
    assert alone.tokens[0] == together.tokens[2]
    assert narrow.tokens == together.tokens
    assert all(a != b for a, b in zip(other.tokens, together.tokens, strict=True))


def test_a_stop_token_ends_its_row_only(small_decoder: Decoder) -> None:
    """Rows are those without a stop, cut after the first stop token; only these count as stopped."""
    free = generate(small_decoder, PROMPTS, temperature=1.0, **SETTINGS)
    stop = free.tokens[1][4]
    samples = generate(small_decoder, PROMPTS, temperature=1.0, stop_ids=[stop], **SETTINGS)
    for tokens, unstopped, stopped in zip(samples.tokens, free.tokens, samples.stopped, strict=True):
        end = unstopped.index(stop) + 1 if stop in unstopped else 16
        assert tokens == unstopped[:end]
        assert stopped == (stop in unstopped)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, None), (0.5, None), (1.0, 0.7)])
def test_draws_have_the_models_frequencies(temperature: float, top_p: float | None) -> None:
    """Twenty thousand draws are within 2% total variation of the distribution that temperature and nucleus give."""
    logits = jnp.log(jnp.asarray([0.05, 0.5, 0.3, 0.1, 0.05]))
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = choose(
        jnp.broadcast_to(logits, (20_000, 5)),
        keys,
        jnp.float32(temperature),
        None if top_p is None else jnp.float32(top_p),
    )
    expected = np.asarray(jax.nn.softmax(logits / temperature))
    if top_p is not None:
        expected = np.where(expected > 0.2, expected, 0) / 0.8
    frequencies = np.bincount(np.asarray(drawn), minlength=5) / 20_000
    assert np.abs(frequencies - expected).sum() / 2 < 0.02


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 1.0])
def test_nucleus_is_the_smallest_set_that_holds_the_share(top_p: float) -> None:
    """Against a plain loop over the sorted probabilities."""
    logits = np.random.default_rng(0).normal(size=50).astype(np.float32) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum()
    wanted, total = set(), 0.0
    for token in np.argsort(-logits):
        if total >= top_p:
            break
        wanted.add(int(token))
        total += float(probabilities[token])
    kept = np.asarray(nucleus(jnp.asarray(logits[None]), jnp.asarray([top_p], jnp.float32)))[0]
    assert {int(token) for token in np.flatnonzero(np.isfinite(kept))} == wanted


def test_long_prompts_lose_their_beginning(small_decoder: Decoder) -> None:
    """A prompt without room for the answer continues as its end would."""
    long = [*range(60), 1, 2]
    prompts = [long, long[-48:], [1], [2]]
    samples = generate(small_decoder, prompts, temperature=0.0, **SETTINGS)
    assert samples.tokens[0] == samples.tokens[1]


def test_requests_that_cannot_be_met_are_refused(small_decoder: Decoder) -> None:
    """An empty prompt, and an answer as long as the model's context."""
    with pytest.raises(ValueError, match="prompt is empty"):
        generate(small_decoder, [[]], temperature=0.0, **SETTINGS)
    with pytest.raises(ValueError, match="max_new_tokens is 64, expected 1 to 63"):
        generate(small_decoder, [[1]], temperature=0.0, max_new_tokens=64, seed=0)
