"""The policy's training loop on a real decoder, small enough that every answer can be enumerated."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from millrace.model.losses import policy as policy_loss
from millrace.model.losses.policy import PolicyLoss, Rollouts
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.training.hooks import Log
from millrace.model.training.loop import History, Sampled, fit
from millrace.model.training.non_finite import NonFiniteLoss
from millrace.model.training.optimizer import learning_rate_schedule, make_optimizer
from millrace.model.training.step import Objective

V, BETA, ROWS = 6, 0.5, 128
PROMPT = [1, 2]
PAIRS = np.asarray(list(itertools.product(range(V), repeat=2)))
CONFIG = ModelConfig(
    vocab_size=V,
    layers=1,
    model_size=32,
    heads=2,
    kv_heads=1,
    head_size=16,
    feed_forward_size=64,
    max_sequence_tokens=8,
)
REWARD = np.random.default_rng(0).normal(size=V * V)


def new_decoder(seed: int) -> Decoder:
    """A decoder whose distributions are far from uniform."""
    decoder = network.create(CONFIG, seed)
    decoder.embedding[...] = decoder.embedding[...] * 2
    return decoder


@nnx.jit
def log_probs(decoder: Decoder) -> jax.Array:
    """Log probability [V * V] of every answer of two tokens to the prompt.

    The prompt has two tokens: attention over repetitions of one token is the token itself, so after the prompt [1]
    the answer's first token and the one after a first 1 could not have different distributions.
    """
    prompt = jnp.tile(jnp.asarray(PROMPT, jnp.int32), (V * V, 1))
    steps = jax.nn.log_softmax(decoder(jnp.concatenate([prompt, jnp.asarray(PAIRS, jnp.int32)], axis=1)))
    rows = jnp.arange(V * V)
    return steps[rows, 1, PAIRS[:, 0]] + steps[rows, 2, PAIRS[:, 1]]


def sample(policy: Decoder, step: int, rows: int = ROWS) -> Rollouts:
    """Answers drawn from the enumerated distribution."""
    drawn = jax.random.categorical(
        jax.random.fold_in(jax.random.key(0), step), log_probs(policy), shape=(rows,)
    )
    return Rollouts([PROMPT] * rows, PAIRS[np.asarray(drawn)].tolist())


def score(rollouts: Rollouts) -> np.ndarray:
    """The planted reward of each answer."""
    return np.asarray([REWARD[first * V + second] for first, second in rollouts.answers])


def run(
    policy: Decoder, steps: int, judge: Callable[[Rollouts], np.ndarray] = score, **policy_of: Any
) -> History:
    """Trains on the planted reward."""
    rate = learning_rate_schedule(
        [(steps, 5e-3)], total_steps=steps, warmup_steps=5, decay="cosine", final_fraction=0.01
    )
    graph, reference = nnx.split(new_decoder(1))

    def make(decoder: Decoder, step: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        rollouts = sample(decoder, step)
        rewards = judge(rollouts).astype(np.float32)
        return rollouts.arrays(2, 2) | {"rewards": rewards}, {"reward": float(rewards.mean())}

    objective = Objective(
        PolicyLoss(graph, 8, BETA), make_optimizer(rate, weight_decay=0.0), frozen=(reference,), **policy_of
    )
    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers
        batches = Sampled(make, policy_loss.described(ROWS, 2, 2), ("reward",))
        return fit(policy, objective, batches, steps, hooks=[Log(1)])


def test_a_decoder_reaches_the_known_optimum() -> None:
    """Started elsewhere than the reference, it ends near pi_ref exp(r / beta) and reports the exact KL."""
    policy = new_decoder(2)
    curves = run(policy, 300).curves
    reference = log_probs(new_decoder(1))
    optimum = jax.nn.softmax(reference + REWARD / BETA)
    reached = log_probs(policy)
    assert 0.5 * float(jnp.abs(jnp.exp(reference) - optimum).sum()) > 0.3
    assert 0.5 * float(jnp.abs(jnp.exp(reached) - optimum).sum()) < 0.02
    exact = float(jnp.sum(jnp.exp(reached) * (reached - reference)))
    assert curves["kl"][-20:].mean() == pytest.approx(exact, rel=0.1)
    assert curves["reward"][-20:].mean() == pytest.approx(float(jnp.sum(optimum * REWARD)), abs=0.1)


def test_padding_does_not_change_the_figures() -> None:
    """Answers of several lengths in one padded batch get what each gets alone, tokens after their end ignored."""
    policy, reference = new_decoder(2), new_decoder(1)
    rollouts = Rollouts([[1, 2], [3], [1, 4, 5]], [[0, 1, 2], [4], [5, 5]])
    together = policy_loss.figures(policy, reference, rollouts.arrays(4, 4))
    for row in range(3):
        alone = Rollouts(rollouts.prompts[row : row + 1], rollouts.answers[row : row + 1])
        figures = policy_loss.figures(policy, reference, alone.arrays(3, 3))
        for name, values in figures.items():
            assert values[0] == pytest.approx(together[name][row], rel=1e-4), name
    assert together["answer_tokens"].tolist() == [3, 1, 2]


def test_a_reward_that_is_not_finite_stops_the_training() -> None:
    """The step is named and the policy is not poisoned."""
    policy = new_decoder(2)
    with pytest.raises(NonFiniteLoss, match="step 0"):
        run(policy, 3, judge=lambda rollouts: np.full(len(rollouts.answers), np.nan))
    assert np.isfinite(np.asarray(log_probs(policy))).all()


def test_a_step_with_a_reward_that_is_not_finite_is_skipped_when_asked() -> None:
    """Two steps without an update leave the policy as it was, and the history names them."""
    policy = new_decoder(2)
    history = run(policy, 2, lambda rollouts: np.full(len(rollouts.answers), np.nan), on_non_finite="skip")
    assert history.skipped_steps == [0, 1]
    assert np.isnan(history.curves["reward"]).all()
    np.testing.assert_array_equal(log_probs(policy), log_probs(new_decoder(2)))
