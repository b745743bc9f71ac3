"""The loss of language modelling is minus the plain log-softmax at the targets that are learnt."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.losses.next_token import NextTokenLoss, learnt, learnt_tokens
from millrace.model.network.decoder import Decoder

TOKENS = np.random.default_rng(0).integers(0, 64, (2, 13)).astype(np.int32)
LEARN = np.random.default_rng(1).random((2, 13)) < 0.5


@nnx.jit
def loss_of(decoder: Decoder, batch: dict[str, jax.Array]) -> jax.Array:
    return NextTokenLoss()(decoder, batch)[0]


@nnx.jit
def forward(decoder: Decoder, ids: jax.Array) -> jax.Array:
    return decoder(ids)


def measured(decoder: Decoder, **batch: np.ndarray) -> float:
    return float(loss_of(decoder, {name: jnp.asarray(value) for name, value in batch.items()}))


def nats(decoder: Decoder, tokens: np.ndarray) -> np.ndarray:
    """[B, T] float64, by the decoder's logits and NumPy."""
    logits = np.asarray(forward(decoder, jnp.asarray(tokens[:, :-1])), np.float64)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]


@pytest.mark.parametrize("learn", [None, LEARN], ids=["all", "some"])
def test_it_is_the_mean_over_the_learnt_targets(small_decoder: Decoder, learn: Any) -> None:
    """The first token is never a target, whatever ``learn`` says of it."""
    batch = {"tokens": TOKENS} | ({} if learn is None else {"learn": learn})
    counts = np.ones((2, 12), bool) if learn is None else learn[:, 1:]
    assert measured(small_decoder, **batch) == pytest.approx(
        nats(small_decoder, TOKENS)[counts].mean(), rel=1e-5
    )
    assert np.array_equal(learnt({name: jnp.asarray(value) for name, value in batch.items()}), counts)
    assert float(learnt_tokens({name: jnp.asarray(value) for name, value in batch.items()})) == counts.sum()


def test_packed_segments_do_not_see_each_other(small_decoder: Decoder) -> None:
    """A row of two documents has the nats that each has in a row of its own."""
    first, second = TOKENS[:1, :5], TOKENS[1:, :8]
    batch = {
        "tokens": np.concatenate([first, second], axis=1),
        "segments": np.asarray([[1] * 5 + [2] * 8], np.int32),
        "positions": np.asarray([[*range(5), *range(7)]], np.int32),
        "learn": np.asarray([[True] * 5 + [False] + [True] * 7]),
    }
    alone = np.concatenate([nats(small_decoder, part)[0] for part in (first, second)])
    assert measured(small_decoder, **batch) == pytest.approx(alone.mean(), rel=1e-5)


def test_another_rotary_base_is_the_rows_own(small_decoder: Decoder) -> None:
    """The configuration's own base changes nothing; another one does."""
    plain = measured(small_decoder, tokens=TOKENS)
    same, other = (
        measured(small_decoder, tokens=TOKENS, rope_base=np.full(2, base, np.float32)) for base in (1e4, 20.0)
    )
    assert same == pytest.approx(plain, rel=1e-6)
    assert abs(other - plain) > 1e-5
