"""The loop that trains a policy on rewards: sample, score, climb (see ``policy_gradient`` for the estimator).

What to sample and how to score it are functions that the caller gives, so this loop knows nothing of prompts, reward
models or rules. Both must be functions of the policy and the step alone; then a training that was killed and resumed
from its last checkpoint ends with the same weights and curves, bit for bit.

Shapes never change during a training: rows are padded to one width, and only the positions that predict an answer's
tokens are unembedded, because logits over the whole row would be the largest array by far ([32, 256, 8192] float32 is
268 MB; 48 answer tokens make it 50 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from millrace.model.losses import policy_gradient
from millrace.model.losses.cross_entropy import token_log_probs
from millrace.model.network.decoder import Decoder
from millrace.model.states.checkpoints import Checkpoints

from .loop import NonFiniteLoss

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
    """What the policy and the reference make of sampled answers.

    Args:
        policy: Where the answers came from.
        reference: What the policy is held to; gets no gradient.
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


def train(
    policy: Decoder,
    reference: Decoder,
    optimizer: optax.GradientTransformation,
    sample: Callable[[Decoder, int], Rollouts],
    score: Callable[[Rollouts], Mapping[str, np.ndarray]],
    total_steps: int,
    *,
    score_names: Sequence[str],
    samples_per_prompt: int,
    prompt_tokens: int,
    answer_tokens: int,
    beta: float,
    checkpoints: Checkpoints | None = None,
    checkpoint_every_steps: int = 10,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> dict[str, np.ndarray]:
    """Trains the policy in place.

    Args:
        policy: Whose ``nnx.Param`` variables are trained.
        reference: What the KL term holds it to; another module than the policy.
        optimizer: The gradient transformation.
        sample: (policy, step) -> answers of ``samples_per_prompt`` rows for each prompt.
        score: Answers -> float [B] per name of ``score_names``; ``reward`` is what is climbed, the rest is recorded.
        total_steps: Number of steps.
        score_names: What ``score`` returns; ``reward`` is one of them.
        samples_per_prompt: K, at least 2.
        prompt_tokens: Longest prompt.
        answer_tokens: Longest answer.
        beta: Price of one nat of divergence, in units of reward.
        checkpoints: Where to keep and look for the state; None starts afresh and keeps nothing.
        checkpoint_every_steps: Steps between checkpoints.
        on_step: Called with the number of finished steps and the means of the last one.

    Returns:
        Curves, name -> float64 [total_steps]: the means of the ``FIGURES`` and the scores over each step's answers
        (before its update), and ``gradient_norm`` before clipping.

    Raises:
        NonFiniteLoss: A reward or a gradient is not finite; no checkpoint holds it.
    """
    graph, variables, rest = nnx.split(policy, nnx.Param, ...)
    reference_graph, reference_state = nnx.split(reference)

    @jax.jit
    def train_step(
        state: dict[str, Any], reference_state: Any, batch: Mapping[str, jax.Array], rewards: jax.Array
    ) -> tuple[dict[str, Any], dict[str, jax.Array]]:
        def loss_of(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            module: Decoder = nnx.merge(graph, params, rest)
            held: Decoder = nnx.merge(reference_graph, reference_state)
            values = compare(module, held, batch)
            grouped = {name: value.reshape(-1, samples_per_prompt) for name, value in values.items()}
            penalised = policy_gradient.penalised_rewards(
                rewards, grouped["log_probs"], grouped["reference_log_probs"], beta
            )
            advantages = policy_gradient.leave_one_out_advantages(penalised)
            loss = policy_gradient.surrogate_loss(grouped["log_probs"], advantages)
            return loss, {name: jnp.mean(values[name]) for name in FIGURES}

        (_, means), gradients = jax.value_and_grad(loss_of, has_aux=True)(state["params"])
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        means["gradient_norm"] = optax.tree.norm(gradients)
        return {"params": optax.apply_updates(state["params"], updates), "optimizer": moments}, means

    params = jax.tree.map(jnp.copy, nnx.to_pure_dict(variables))
    state = {"params": params, "optimizer": optimizer.init(params)}
    curves = {name: np.full(total_steps, np.nan) for name in (*FIGURES, "gradient_norm", *score_names)}
    start = 0
    if checkpoints and (found := checkpoints.restore_latest({"train": state, "curves": curves})):
        start, restored = found
        state = restored["train"]
        curves = {name: np.array(values) for name, values in restored["curves"].items()}
    for step in range(start, total_steps):
        rollouts = sample(nnx.merge(graph, state["params"], rest), step)
        scores = score(rollouts)
        if not all(np.isfinite(scores[name]).all() for name in score_names):
            raise NonFiniteLoss(step)
        batch = rollouts.arrays(prompt_tokens, answer_tokens)
        rewards = np.asarray(scores["reward"], dtype=np.float32).reshape(-1, samples_per_prompt)
        state, means = train_step(state, reference_state, batch, rewards)
        values = {name: float(value) for name, value in means.items()}
        values |= {name: float(np.mean(scores[name])) for name in score_names}
        if not all(map(np.isfinite, values.values())):
            raise NonFiniteLoss(step)
        for name, value in values.items():
            curves[name][step] = value
        done = step + 1
        if on_step:
            on_step(done, values)
        if checkpoints and (done == total_steps or done % checkpoint_every_steps == 0):
            checkpoints.save(done, {"train": state, "curves": curves})
    nnx.update(policy, state["params"])
    return curves
