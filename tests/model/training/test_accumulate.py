"""Microbatches add up to the batch, whatever share of their tokens counts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.losses.next_token import NextTokenLoss, learnt_tokens
from millrace.model.network.decoder import Decoder
from millrace.model.training import accumulate


def batch_of(rows: int, *, masked: bool) -> dict[str, jax.Array]:
    """Random tokens; masked, nine tenths of the last row and almost none of the first are learnt."""
    random = np.random.default_rng(0)
    batch = {"tokens": jnp.asarray(random.integers(0, 64, (rows, 9)), jnp.int32)}
    if masked:
        share = np.linspace(0.05, 0.9, rows)[:, None]
        batch["learn"] = jnp.asarray(random.random((rows, 9)) < share)
    return batch


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("microbatches", [2, 3, 6])
def test_a_split_batch_has_the_unsplit_gradient(
    small_decoder: Decoder, microbatches: int, masked: bool
) -> None:
    """Loss, metrics and every gradient agree within float rounding, although the parts learn unequally many tokens."""
    graph, params = nnx.split(small_decoder)

    def loss_of(params: Any, batch: Any) -> Any:
        value, _ = NextTokenLoss()(nnx.merge(graph, params), batch)
        return value, {"twice": 2 * value}

    batch = batch_of(6, masked=masked)
    expected = jax.jit(accumulate.whole(loss_of))(params, batch)
    found = jax.jit(accumulate.split(microbatches, learnt_tokens)(loss_of))(params, batch)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_microbatch_without_learnt_tokens_adds_nothing() -> None:
    """A mean over one learnt token of four rows is that token's loss."""
    batch = {"x": jnp.asarray([7.0, 0.0, 0.0, 0.0]), "learn": jnp.asarray([True, False, False, False])}

    def loss_of(slope: jax.Array, batch: Any) -> Any:
        counts = batch["learn"].astype(jnp.float32)
        return jnp.sum(slope * batch["x"] * counts) / jnp.maximum(jnp.sum(counts), 1.0), {}

    gradient = accumulate.split(4, lambda batch: jnp.sum(batch["learn"].astype(jnp.float32)))(loss_of)
    assert gradient(jnp.asarray(2.0), batch) == ((14.0, {}), 7.0)


def test_one_microbatch_is_the_batch_itself() -> None:
    """Not even the order of a sum changes."""
    assert accumulate.split(1, learnt_tokens) is accumulate.whole


def test_rows_that_do_not_divide_are_refused() -> None:
    """Rows and parts are both named."""
    with pytest.raises(ValueError, match="6 rows of 'tokens' in 4 microbatches"):
        accumulate.split(4, learnt_tokens)(lambda *_: (jnp.zeros(()), {}))({}, batch_of(6, masked=False))


def test_learnt_tokens_are_those_of_the_mask() -> None:
    """The first token of a row is nobody's target."""
    assert float(learnt_tokens(batch_of(6, masked=False))) == 48
    batch = batch_of(6, masked=True)
    assert float(learnt_tokens(batch)) == np.asarray(batch["learn"])[:, 1:].sum()
