"""Scores are those of the plain forward pass, however rows are batched."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.answers import score
from millrace.model.network.decoder import Decoder

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(0, 64, n).tolist() for n in (2, 65, 1, 40, 33, 7)]


@pytest.fixture(scope="module")
def expected(small_decoder: Decoder) -> list[np.ndarray]:
    """Log-probabilities of each row by one padded pass over the whole vocabulary."""
    padded = np.zeros((len(ROWS), 65), np.int32)
    for line, row in enumerate(ROWS):
        padded[line, : len(row)] = row
    logits = nnx.jit(lambda decoder, ids: decoder(ids))(small_decoder, jnp.asarray(padded))
    all_log_probs = np.asarray(jax.nn.log_softmax(logits))
    return [
        np.asarray([all_log_probs[line, at, token] for at, token in enumerate(row[1:])])
        for line, row in enumerate(ROWS)
    ]


@pytest.mark.parametrize("batch_tokens", [64, 4096])
def test_rows_score_as_in_one_pass(
    small_decoder: Decoder, expected: list[np.ndarray], batch_tokens: int
) -> None:
    """Each token's log-probability does not depend on the row's company."""
    for found, wanted in zip(
        score.row_log_probs(small_decoder, ROWS, batch_tokens=batch_tokens), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_a_continuation_is_the_end_of_its_row(small_decoder: Decoder, expected: list[np.ndarray]) -> None:
    """Sums are over the continuation alone; a prompt without room loses its beginning, not its end."""
    sums, counts = score.sequence_log_probs(
        small_decoder, [ROWS[3][:30], [5] * 50 + ROWS[1][:5]], [ROWS[3][30:], ROWS[1][5:]]
    )
    assert counts.tolist() == [10, 60]
    np.testing.assert_allclose(sums[0], expected[3][29:].sum(), rtol=1e-6)
    np.testing.assert_allclose(sums[1], expected[1][4:].sum(), rtol=1e-6)


def test_windows_predict_every_token_once(small_decoder: Decoder, expected: list[np.ndarray]) -> None:
    """Windows overlap by one token; a text of one window scores as a row."""
    tokens = list(range(50)) * 3
    cut = score.windows(tokens, 64)
    assert [token for window in cut for token in window[1:]] == tokens[1:]
    assert all(len(window) <= 65 for window in cut)
    nats = score.text_nats(small_decoder, [ROWS[3], ROWS[2]])
    np.testing.assert_allclose(nats, [-expected[3].sum(), 0.0], rtol=1e-6)


def test_rows_that_do_not_fit_are_refused(small_decoder: Decoder) -> None:
    """Too long, or empty."""
    with pytest.raises(ValueError, match="66 tokens, expected 1 to 65"):
        score.row_log_probs(small_decoder, [[1] * 66])
    with pytest.raises(ValueError, match="prompt is empty"):
        score.sequence_log_probs(small_decoder, [[]], [[1]])
    with pytest.raises(ValueError, match="continuation has 65 tokens, expected at most 64"):
        score.sequence_log_probs(small_decoder, [[1]], [[1] * 65])
