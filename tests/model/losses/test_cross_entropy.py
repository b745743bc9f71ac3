"""The chunked loss and its hand-made gradient equal the plain ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from millrace.model.losses.cross_entropy import (
    LogitTerms,
    cross_entropy,
    linear_cross_entropy,
    token_log_probs,
)

RNG = np.random.default_rng(0)
HIDDEN = jnp.asarray(RNG.normal(size=(3, 5, 8)), jnp.float32)
EMBEDDING = jnp.asarray(RNG.normal(size=(11, 8)), jnp.float32)
TARGETS = jnp.asarray(RNG.integers(0, 11, (3, 5)), jnp.int32)
MASK = jnp.asarray(RNG.random((3, 5)) < 0.6)


def test_token_log_probs_are_those_of_the_softmax() -> None:
    """Log-probabilities over the vocabulary sum to one and are picked at the target."""
    logits = jnp.einsum("BTD,VD->BTV", HIDDEN, EMBEDDING)
    expected = jnp.take_along_axis(jax.nn.log_softmax(logits), TARGETS[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(token_log_probs(logits, TARGETS), expected, atol=1e-6)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 15, 512])
def test_chunks_do_not_show(chunk_tokens: int) -> None:
    """Loss and both gradients equal those of the plain loss, for chunks that divide the batch and that do not."""

    def plain(hidden: jax.Array, embedding: jax.Array) -> jax.Array:
        return 3.0 * cross_entropy(jnp.einsum("BTD,VD->BTV", hidden, embedding), TARGETS, MASK)

    def chunked(hidden: jax.Array, embedding: jax.Array) -> jax.Array:
        return 3.0 * linear_cross_entropy(
            hidden, embedding, TARGETS, MASK, LogitTerms(chunk_tokens=chunk_tokens)
        )

    expected, slopes = jax.value_and_grad(plain, argnums=(0, 1))(HIDDEN, EMBEDDING)
    found, found_slopes = jax.value_and_grad(chunked, argnums=(0, 1))(HIDDEN, EMBEDDING)
    np.testing.assert_allclose([found, chunked(HIDDEN, EMBEDDING)], [expected, expected], rtol=1e-6)
    for slope, found_slope in zip(slopes, found_slopes, strict=True):
        np.testing.assert_allclose(found_slope, slope, atol=1e-6)


def test_soft_cap_and_z_loss_have_the_slopes_of_their_formulas() -> None:
    """The hand-made gradient of all terms together equals automatic differentiation of them written out."""
    terms = LogitTerms(soft_cap=2.0, z_loss=0.1, chunk_tokens=4)

    def plain(hidden: jax.Array, embedding: jax.Array) -> jax.Array:
        logits = 2.0 * jnp.tanh(jnp.einsum("BTD,VD->BTV", hidden, embedding) / 2.0)
        z = jnp.mean(jax.nn.logsumexp(logits, axis=-1)[MASK] ** 2)
        return cross_entropy(logits, TARGETS, MASK) + 0.1 * z

    def fused(hidden: jax.Array, embedding: jax.Array) -> jax.Array:
        return linear_cross_entropy(hidden, embedding, TARGETS, MASK, terms)

    expected, slopes = jax.value_and_grad(plain, argnums=(0, 1))(HIDDEN, EMBEDDING)
    found, found_slopes = jax.value_and_grad(fused, argnums=(0, 1))(HIDDEN, EMBEDDING)
    np.testing.assert_allclose([found, fused(HIDDEN, EMBEDDING)], [expected, expected], rtol=1e-6)
    for slope, found_slope in zip(slopes, found_slopes, strict=True):
        np.testing.assert_allclose(found_slope, slope, atol=1e-6)


def test_nothing_to_learn_is_zero() -> None:
    """An empty mask gives loss 0 and gradient 0, not a division by zero."""
    nothing = jnp.zeros(MASK.shape, bool)
    loss, slope = jax.value_and_grad(linear_cross_entropy)(HIDDEN, EMBEDDING, TARGETS, nothing, LogitTerms())
    assert float(loss) == float(cross_entropy(jnp.zeros((3, 5, 11)), TARGETS, nothing)) == 0.0
    assert not np.asarray(slope).any()
