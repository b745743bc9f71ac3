"""Continuous batching: rows do not disturb each other, and match the model without a cache."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.answers import continuous_batch
from millrace.model.answers.continuous_batch import ContinuousBatch, Sampling
from millrace.model.answers.score import row_log_probs
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder

CONFIG = ModelConfig(
    vocab_size=67,
    layers=2,
    model_size=32,
    heads=4,
    kv_heads=2,
    head_size=8,
    feed_forward_size=48,
    max_sequence_tokens=40,
)


FORWARD = nnx.jit(Decoder.__call__)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A random decoder, sharpened so that the likeliest tokens are not near ties."""
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    decoder.embedding[...] = decoder.embedding[...] * 8
    return decoder


def reference_log_probs(decoder: Decoder, tokens: list[int]) -> jax.Array:
    """Log probabilities [V] of the token after ``tokens``, by the full forward pass, padded to one shape."""
    padded = jnp.asarray([tokens + [0] * (CONFIG.max_sequence_tokens - len(tokens))], jnp.int32)
    return jax.nn.log_softmax(FORWARD(decoder, padded)[0, len(tokens) - 1])


def answer(batch: ContinuousBatch, prompt: list[int], sampling: Sampling, count: int) -> list[int]:
    """One request alone in the batch."""
    row, token, _ = batch.admit(prompt, sampling)
    tokens = [token.token]
    while len(tokens) < count:
        tokens.append(batch.step()[row].token)
    batch.release(row)
    return tokens


def test_greedy_tokens_and_log_probs_are_those_of_the_uncached_model(decoder: Decoder) -> None:
    """Each token is the argmax of the full forward pass over everything before it, up to the last slot."""
    batch, tokens = ContinuousBatch(decoder, rows=3), [5, 9, 2, 11]
    row, token, _ = batch.admit(tokens, Sampling(temperature=0.0, candidates=2))
    while True:
        log_probs = reference_log_probs(decoder, tokens)
        assert token.token == int(jnp.argmax(log_probs))
        np.testing.assert_allclose(token.log_prob, log_probs[token.token], atol=1e-4)
        assert token.candidates[0][0] == token.token
        assert len(token.candidates) == 2
        tokens.append(token.token)
        if len(tokens) > CONFIG.max_sequence_tokens:
            break
        token = batch.step()[row]


def test_a_seeded_answer_is_the_same_on_a_busy_and_an_idle_batch(decoder: Decoder) -> None:
    """Neighbours that come and go, and reused rows, change nothing."""
    prompts = [[1, 2, 3], list(range(20)), [7]]
    samplings = [Sampling(1.0, 0.9, 1), Sampling(0.7, 1.0, 2), Sampling(0.0)]
    alone = [
        answer(ContinuousBatch(decoder, rows=3), p, s, 12) for p, s in zip(prompts, samplings, strict=True)
    ]
    batch, together = ContinuousBatch(decoder, rows=3), {}
    for prompt, sampling in zip(prompts, samplings, strict=True):
        row, token, _ = batch.admit(prompt, sampling)
        together[row] = [token.token]
        for other, token in batch.step().items():
            together[other].append(token.token)
    for _ in range(12):
        for row, token in batch.step().items():
            together[row].append(token.token)
    assert [together[row][:12] for row in range(3)] == alone
    batch.release(1)
    assert answer(batch, prompts[1], samplings[1], 12) == alone[1]


def test_another_seed_gives_another_answer(decoder: Decoder) -> None:
    """Sampling at temperature 1 depends on the seed."""
    batch = ContinuousBatch(decoder, rows=1)
    answers = [answer(batch, [1], Sampling(seed=seed), 16) for seed in (0, 1, 0)]
    assert answers[0] == answers[2] != answers[1]


def test_sampled_frequencies_follow_the_distribution(decoder: Decoder) -> None:
    """First tokens over many seeds are within sampling noise of the softmax."""
    batch, counts = ContinuousBatch(decoder, rows=1), np.zeros(CONFIG.vocab_size)
    for seed in range(1000):
        row, token, _ = batch.admit([3, 4], Sampling(temperature=0.8, seed=seed))
        batch.release(row)
        counts[token.token] += 1
    expected = np.asarray(jax.nn.softmax(reference_log_probs(decoder, [3, 4]) / 0.8))
    assert np.abs(counts / counts.sum() - expected).sum() / 2 < 0.15


@pytest.mark.parametrize(
    ("prompt", "message"), [([], "0 tokens"), ([0] * 41, "41 tokens"), ([67], "outside")]
)
def test_a_prompt_that_does_not_fit_is_refused(decoder: Decoder, prompt: list[int], message: str) -> None:
    """Nothing is silently cut, and the row stays free."""
    batch = ContinuousBatch(decoder, rows=1)
    with pytest.raises(ValueError, match=message):
        batch.admit(prompt, Sampling())
    assert batch.free_rows == 1


@pytest.mark.parametrize("length", [1, 2, 8, 9, 40])
def test_a_prompts_scores_are_those_of_given_text(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Against ``row_log_probs``, in pieces of seven tokens, the first of which is scored by none."""
    monkeypatch.setattr(continuous_batch, "SCORED_TOKENS", 7)
    prompt = [int(token) for token in np.random.default_rng(length).integers(0, CONFIG.vocab_size, length)]
    batch = ContinuousBatch(decoder, rows=2)
    _, first, scores = batch.admit(prompt, Sampling(temperature=0.0, candidates=3), scored=True)
    assert [score.token for score in scores] == prompt[1:]
    expected = row_log_probs(decoder, [prompt])[0]
    np.testing.assert_allclose([score.log_prob for score in scores], expected, atol=1e-4)
    for place, score in enumerate(scores, 1):
        best, log_prob = score.candidates[0]
        assert best == int(jnp.argmax(reference_log_probs(decoder, prompt[:place])))
        assert log_prob >= score.log_prob
        assert len(score.candidates) == 3
    assert first == batch.admit(prompt, Sampling(temperature=0.0, candidates=3)).token
