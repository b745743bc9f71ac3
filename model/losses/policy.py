"""The loss of training a policy on rewards, and the arrays of its answers (see ``policy_gradient`` for the estimator).

The answers come from the policy itself at every step, as ``training.loop.Sampled`` batches that also hold their rewards;
this file knows nothing of prompts, reward models or rules.

Shapes never change during a training: rows are padded to one width, and only the positions that predict an answer's
tokens are unembedded, because logits over the whole row would be the largest array by far ([32, 256, 8192] float32 is
268 MB; 48 answer tokens make it 50 MB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from millrace.model.network.decoder import Decoder

from . import policy_gradient
from .cross_entropy import token_log_probs

FIGURES = ("kl", "entropy", "answer_tokens")


@dataclass(frozen=True)
class Rollouts:
    """Answers that the policy sampled.

    Attributes:
        prompts: B rows of token ids, each with at least one token; rows of one prompt stand together.
        answers: B rows of token ids, each with at least one token, with the stop token where the model wrote one.
    """

    prompts: Sequence[Sequence[int]]
    answers: Sequence[Sequence[int]]

    def take(self, rows: Sequence[int]) -> Rollouts:
        """The rows with these numbers."""
        return Rollouts([self.prompts[row] for row in rows], [self.answers[row] for row in rows])

    def arrays(self, prompt_tokens: int, answer_tokens: int) -> dict[str, np.ndarray]:
        """The rows as rectangles.

        Args:
            prompt_tokens: Longest prompt that there is in the training.
            answer_tokens: A, the longest answer.

        Returns:
            ``tokens`` int32 [B, prompt_tokens + A], ``starts`` int32 [B] where the answer begins, ``answers`` int32
            [B, A] and ``mask`` bool [B, A].
        """
        rows = len(self.prompts)
        tokens = np.zeros((rows, prompt_tokens + answer_tokens), dtype=np.int32)
        answers = np.zeros((rows, answer_tokens), dtype=np.int32)
        mask = np.zeros((rows, answer_tokens), dtype=bool)
        starts = np.asarray([len(prompt) for prompt in self.prompts], dtype=np.int32)
        for row, (prompt, answer) in enumerate(zip(self.prompts, self.answers, strict=True)):
            tokens[row, : len(prompt)] = prompt
            tokens[row, len(prompt) : len(prompt) + len(answer)] = answer
            answers[row, : len(answer)] = answer
            mask[row, : len(answer)] = True
        return {"tokens": tokens, "starts": starts, "answers": answers, "mask": mask}


def answer_logits(decoder: Decoder, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Logits that predict each answer token: float32 [B, A, V] for a batch of ``Rollouts.arrays``."""
    states = decoder.hidden(batch["tokens"])
    steps = jnp.arange(batch["answers"].shape[1], dtype=jnp.int32)
    at = jnp.minimum(batch["starts"][:, None] - 1 + steps, states.shape[1] - 1)
    return decoder.unembed(jnp.take_along_axis(states, at[:, :, None], axis=1))


def compare(policy: Decoder, reference: Decoder, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The log-probabilities that policy and reference give sampled answers.

    Args:
        policy: Where the answers came from.
        reference: The weights that the KL penalty holds the policy to; gets no gradient.
        batch: See ``Rollouts.arrays``.

    Returns:
        float32 [B] each: ``log_probs`` and ``reference_log_probs`` of whole answers, ``kl`` (exact at each token,
        summed over the answer), all nats; ``entropy``, nats a token; ``answer_tokens``.
    """
    logits = answer_logits(policy, batch)
    reference_logits = jax.lax.stop_gradient(answer_logits(reference, batch))
    mask = batch["mask"].astype(jnp.float32)
    counts = mask.sum(axis=1)

    def total(values: jax.Array) -> jax.Array:
        return jnp.sum(values * mask, axis=1)

    fixed = jax.lax.stop_gradient(logits)
    return {
        "log_probs": total(token_log_probs(logits, batch["answers"])),
        "reference_log_probs": total(token_log_probs(reference_logits, batch["answers"])),
        "kl": total(policy_gradient.token_divergence(fixed, reference_logits)),
        "entropy": total(policy_gradient.token_entropy(fixed)) / counts,
        "answer_tokens": counts,
    }


@nnx.jit
def _compare(policy: Decoder, reference: Decoder, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return compare(policy, reference, batch)


def figures(policy: Decoder, reference: Decoder, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``compare`` without a gradient, on the host: the ``FIGURES``, float64 [B] each."""
    values = _compare(policy, reference, {name: jnp.asarray(array) for name, array in batch.items()})
    return {name: np.asarray(values[name], dtype=np.float64) for name in FIGURES}


def described(rows: int, prompt_tokens: int, answer_tokens: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a batch of ``PolicyLoss``: ``Rollouts.arrays`` and ``rewards`` float32 [B]."""

    def of(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    return {
        "tokens": of(jnp.int32, rows, prompt_tokens + answer_tokens),
        "starts": of(jnp.int32, rows),
        "answers": of(jnp.int32, rows, answer_tokens),
        "mask": of(jnp.bool_, rows, answer_tokens),
        "rewards": of(jnp.float32, rows),
    }


@dataclass(frozen=True)
class PolicyLoss:
    """The loss of ``fit`` for a policy, called as ``loss(policy, batch, reference_weights)``.

    Attributes:
        reference: The graph of the module that the KL term holds the policy to; its weights are an argument.
        samples_per_prompt: K, at least 2; rows of one prompt stand together.
        beta: Price of one nat of divergence, in units of reward.
    """

    reference: Any
    samples_per_prompt: int
    beta: float

    def __call__(
        self, policy: Decoder, batch: Mapping[str, jax.Array], reference_weights: Any
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """The surrogate loss, whose gradient climbs, and the means of the ``FIGURES`` over a batch as ``described``."""
        held: Decoder = nnx.merge(self.reference, reference_weights)
        values = compare(policy, held, batch)
        names = ("log_probs", "reference_log_probs")
        mine, reference, rewards = (
            value.reshape(-1, self.samples_per_prompt)
            for value in (*(values[name] for name in names), batch["rewards"])
        )
        penalised = policy_gradient.penalised_rewards(rewards, mine, reference, self.beta)
        advantages = policy_gradient.leave_one_out_advantages(penalised)
        loss = policy_gradient.surrogate_loss(mine, advantages)
        return loss, {name: jnp.mean(values[name]) for name in FIGURES}
