"""Leave-one-out REINFORCE with a KL term: the gradient estimator of ``rlhf``.

The objective is J(pi) = E_x E_{y ~ pi(.|x)} [ r(x, y) - beta log(pi(y|x) / pi_ref(y|x)) ], whose optimum is
pi*(y|x) proportional to pi_ref(y|x) exp(r(x, y) / beta). For k samples of one prompt with penalised rewards R_i,

    grad J  ~  1/k  sum_i (R_i - mean_{j != i} R_j) grad log pi(y_i|x)

The baseline of a sample is the mean of the *other* samples, so it is independent of the sample and the estimator
exactly unbiased; dividing by the group's standard deviation or by the answer's length, as other recipes do, is not done
because it changes the optimum. The KL term is part of the reward: the derivative of the log ratio itself has
expectation zero, so it needs no gradient of its own. Whole answers are the actions, with neither a critic nor clipped
ratios, since every sample comes from the very policy that is updated.

References:
    Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
    Kool, van Hoof & Welling 2019, "Buy 4 REINFORCE samples, get a baseline for free!".
    Ahmadian et al. 2024, "Back to basics: revisiting REINFORCE-style optimization for learning from human feedback in
    LLMs", section 3 (RLOO).
    Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2 (the KL term and pi*).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def penalised_rewards(
    rewards: ArrayLike, log_probs: ArrayLike, reference_log_probs: ArrayLike, beta: float
) -> jax.Array:
    """Rewards less the KL term's sample, ``r - beta log(pi / pi_ref)``.

    Args:
        rewards: float32 [P, K], one per sample.
        log_probs: float32 [P, K], log probability of the whole answer under the policy, nats.
        reference_log_probs: float32 [P, K], the same under the reference.
        beta: Price of one nat of divergence, in units of reward; not negative.

    Returns:
        float32 [P, K] that carries no gradient.
    """
    ratio = jnp.asarray(log_probs) - jnp.asarray(reference_log_probs)
    return jax.lax.stop_gradient(jnp.asarray(rewards) - beta * ratio)


def leave_one_out_advantages(rewards: ArrayLike) -> jax.Array:
    """Each sample's reward less the mean reward of the other samples of its prompt.

    Args:
        rewards: float32 [P, K], K samples of each of P prompts, K >= 2.

    Returns:
        float32 [P, K]; the rows sum to zero.

    Raises:
        ValueError: Fewer than two samples a prompt, which leaves none to be the baseline.
    """
    values = jnp.asarray(rewards)
    samples = values.shape[-1]
    if values.ndim != 2 or samples < 2:
        raise ValueError(
            f"got rewards of shape {values.shape}, expected [prompts, samples] with samples >= 2"
        )
    # R_i - (S - R_i) / (K - 1) = (R_i - S / K) K / (K - 1)
    return (values - values.mean(axis=-1, keepdims=True)) * (samples / (samples - 1))


def surrogate_loss(log_probs: ArrayLike, advantages: ArrayLike) -> jax.Array:
    """The scalar whose gradient is minus the estimate of grad J.

    Args:
        log_probs: float32 [P, K], differentiable log probability of each whole answer, nats.
        advantages: float32 [P, K] from ``leave_one_out_advantages``.

    Returns:
        float32 scalar, averaged over prompts and samples; its value means nothing, its gradient does.
    """
    return -jnp.mean(jax.lax.stop_gradient(jnp.asarray(advantages)) * jnp.asarray(log_probs))


def token_divergence(logits: jax.Array, reference_logits: jax.Array) -> jax.Array:
    """Exact KL(pi || pi_ref) of the next-token distributions at each position.

    Summed over the tokens of sampled answers it is an unbiased estimate of the sequence KL with far less variance
    than the mean log ratio, and never negative: the figure to report.

    Args:
        logits: float32 [..., V] of the policy.
        reference_logits: float32 [..., V] of the reference.

    Returns:
        float32 [...], nats.
    """
    log_p = jax.nn.log_softmax(logits)
    log_q = jax.nn.log_softmax(reference_logits)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def token_entropy(logits: jax.Array) -> jax.Array:
    """Entropy of the next-token distribution at each position; its fall towards zero is how collapse shows.

    Args:
        logits: float32 [..., V].

    Returns:
        float32 [...], nats.
    """
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
