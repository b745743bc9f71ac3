"""The policy gradient against enumeration and against an optimum that is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.model.losses import policy_gradient as pg

BETA = 0.5
V = 4


def log_probs_of_pairs(parameters: dict[str, jax.Array]) -> jax.Array:
    """Log probability [V, V] of each answer of two tokens: a table for the first, one per first for the second."""
    first = jax.nn.log_softmax(parameters["first"])
    second = jax.nn.log_softmax(parameters["second"])
    return first[:, None] + second


def toy(seed: int) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array]:
    """A policy, a reference and a reward [V * V], all random."""
    rng = np.random.default_rng(seed)

    def table() -> dict[str, jax.Array]:
        return {
            "first": jnp.asarray(rng.normal(size=V), jnp.float32),
            "second": jnp.asarray(rng.normal(size=(V, V)), jnp.float32),
        }

    return table(), table(), jnp.asarray(rng.normal(size=V * V), jnp.float32)


def estimate(parameters: dict, reference: dict, reward: jax.Array, answers: jax.Array) -> jax.Array:
    """The surrogate loss of the given answers [P, K] (indices into the V * V pairs)."""
    log_probs = log_probs_of_pairs(parameters).reshape(-1)[answers]
    reference_log_probs = log_probs_of_pairs(reference).reshape(-1)[answers]
    penalised = pg.penalised_rewards(reward[answers], log_probs, reference_log_probs, BETA)
    return pg.surrogate_loss(log_probs, pg.leave_one_out_advantages(penalised))


@pytest.mark.parametrize("samples", [2, 3])
def test_estimator_is_unbiased_by_enumeration(samples: int) -> None:
    """The expectation over all possible sample groups equals the exact gradient of the objective."""
    parameters, reference, reward = toy(1)

    def objective(p: dict) -> jax.Array:
        log_p = log_probs_of_pairs(p).reshape(-1)
        log_q = log_probs_of_pairs(reference).reshape(-1)
        return jnp.sum(jnp.exp(log_p) * (reward - BETA * (log_p - log_q)))

    exact = jax.grad(objective)(parameters)
    groups = jnp.asarray(list(itertools.product(range(V * V), repeat=samples)))
    chance = jnp.exp(log_probs_of_pairs(parameters).reshape(-1)[groups].sum(axis=1))
    gradients = jax.jit(
        jax.vmap(lambda group: jax.grad(estimate)(parameters, reference, reward, group[None])),
    )(groups)
    for name in exact:
        expected = -jnp.tensordot(chance, gradients[name], axes=1)
        np.testing.assert_allclose(expected, exact[name], atol=2e-5)


def test_converges_to_the_known_optimum() -> None:
    """Sampling and climbing ends within 2% total variation of pi_ref exp(r / beta), normalised."""
    _, reference, reward = toy(2)
    steps = 1_500
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    def step(state: tuple, index: jax.Array) -> tuple:
        parameters, moments = state
        log_p = log_probs_of_pairs(parameters).reshape(-1)
        answers = jax.random.categorical(jax.random.fold_in(jax.random.key(0), index), log_p, shape=(16, 4))
        gradient = jax.grad(estimate)(parameters, reference, reward, answers)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(parameters, updates), moments), None

    start = (reference, optimizer.init(reference))
    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers
        (parameters, _), _ = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(steps)))(start)
    optimum = jax.nn.softmax(log_probs_of_pairs(reference).reshape(-1) + reward / BETA)
    reached = jnp.exp(log_probs_of_pairs(parameters).reshape(-1))
    at_start = jnp.exp(log_probs_of_pairs(reference).reshape(-1))
    assert 0.5 * jnp.abs(at_start - optimum).sum() > 0.3
    assert 0.5 * jnp.abs(reached - optimum).sum() < 0.02


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 99))
def test_advantages_are_the_definition(prompts: int, samples: int, seed: int) -> None:
    """The closed form equals R_i minus the mean of the others, and a constant added to a prompt's rewards is gone."""
    rewards = np.random.default_rng(seed).normal(size=(prompts, samples)).astype(np.float32)
    want = [[row[i] - np.delete(row, i).mean() for i in range(samples)] for row in rewards]
    np.testing.assert_allclose(pg.leave_one_out_advantages(rewards), want, atol=1e-5)
    np.testing.assert_allclose(pg.leave_one_out_advantages(rewards + 3.0), want, atol=1e-5)


def test_divergence_and_entropy_are_the_sums() -> None:
    """Both agree with their defining sums; equal distributions diverge by zero, uniform ones have entropy ln V."""
    logits, other = np.random.default_rng(0).normal(size=(2, 5, V)).astype(np.float32)
    p, q = jax.nn.softmax(logits), jax.nn.softmax(other)
    np.testing.assert_allclose(pg.token_divergence(logits, other), (p * np.log(p / q)).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(pg.token_divergence(logits, logits), np.zeros(5), atol=1e-6)
    np.testing.assert_allclose(pg.token_entropy(jnp.zeros((2, V))), np.full(2, np.log(V)), rtol=1e-6)


def test_one_sample_a_prompt_is_refused() -> None:
    """Without a second sample there is no baseline, and the error says so."""
    with pytest.raises(ValueError, match="samples >= 2"):
        pg.leave_one_out_advantages(np.ones((3, 1), np.float32))
