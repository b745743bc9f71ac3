"""The loss of distillation: a student learns a teacher's distribution of the next token, and the token itself.

    loss = weight * temperature^2 * KL(teacher || student) + (1 - weight) * cross-entropy

Both distributions of the divergence are softened by the temperature. The square keeps the size of its gradient, which
falls with the square, so that the weight means the same at any temperature (Hinton et al.).

The teacher's distribution is whole, or its k most probable tokens and one class for all others together. The student's
is put into the same k + 1 classes, so the divergence is never more than the whole one (merging classes loses
information), equals it at k = V, and is 0 only where the student's k probabilities are the teacher's. Dropping the rest
and renormalising, the obvious other way, teaches the student that the rest does not exist: its k probabilities come out
too large, by the probability that the teacher gives the rest (Anshumann et al., who sample tokens to be without bias;
that is noisy, and the loss of a model that is its own teacher is then not 0). A bias remains: one class for all other
tokens does not tell them apart, so the student divides the rest by its own distribution, and with a weight of 1 nothing
teaches it how. A tenth of the loss on the tokens mends that: on a toy of 32 tokens and 60 steps, k = 4 ended at 3.33
nats held out with a weight of 1 and at 2.83 with 0.9 (3.64 without a teacher, 2.55 with all of its distribution).

Nothing of the size [B, T, V] is ever held: teacher's and student's logits exist for one chunk of positions at a time.

References:
    Hinton, Vinyals & Dean 2015, Distilling the Knowledge in a Neural Network, arXiv 1503.02531, section 2.
    Anshumann et al. 2025, Sparse Logit Sampling, arXiv 2503.16870 (the bias of keeping the k most probable alone, and
    sampling as the way without it).
    Gemma Team 2024, Gemma 2, arXiv 2408.00118 (small models pretrained on a larger one's distributions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from millrace.model.network.decoder import PLAIN, Decoder
from millrace.model.network.linear import soft_cap

from .cross_entropy import (
    CHUNK_TOKENS,
    LogitTerms,
    Metrics,
    hard_targets,
    join_time,
    linear_loss,
    split_time,
)
from .next_token import NextTokenLoss, learnt, read_rows

TEACHER_LOG_PROBS = "teacher_log_probs"
TEACHER_IDS = "teacher_ids"


class TopLogProbs(NamedTuple):
    """A teacher's distributions in k + 1 classes.

    Attributes:
        log_probs: [..., k+1], of the tokens and, last, of all others together; nats.
        ids: [..., k] int32, the tokens.
    """

    log_probs: jax.Array
    ids: jax.Array


@dataclass(frozen=True)
class DistillationLoss:
    """The loss of ``fit`` for distillation, called as ``loss(student, batch)`` or ``loss(student, batch, weights)``.

    Attributes:
        next_token: The loss on the tokens, with the student's training mode and what keeps a training stable.
        temperature: Softens both distributions.
        weight: Of the divergence; the cross-entropy has the rest of 1.
        teacher: The teacher without its weights, which then are the call's last argument. None takes the teacher from
            the batch: ``teacher_log_probs`` [B, T, k+1] and ``teacher_ids`` [B, T, k], as ``TopLogProbs`` has them.
        top_k: Tokens whose probabilities are compared one by one; None compares all. Of a teacher in the batch, it is
            as many as the batch has.
    """

    next_token: NextTokenLoss
    temperature: float
    weight: float
    teacher: nnx.GraphDef[Any] | None = None
    top_k: int | None = None

    def __call__(
        self, student: Decoder, batch: Mapping[str, jax.Array], *weights: Any
    ) -> tuple[jax.Array, Mapping[str, jax.Array]]:
        """Measures a batch.

        Args:
            student: The model.
            batch: As ``NextTokenLoss`` takes it. A rotary base in it is the student's; the teacher has its own.
            weights: The teacher's parameters, where it is no part of the batch.

        Returns:
            Nats per learnt token with all weighted terms; and, unweighted, ``distillation_loss`` (the divergence times
            the square of the temperature), ``hard_loss`` (the cross-entropy) and the router's losses.
        """
        hidden, router = read_rows(student, batch, self.next_token.mode)
        seen, table, cap = self._seen(batch, *weights)
        loss, metrics = linear_loss(  # pyright: ignore[reportGeneralTypeIssues]  # functools.partial hides what custom_vjp returns
            hidden,
            student.logit_table(),
            (batch["tokens"][:, 1:], seen),
            table,
            learnt(batch),
            SoftTargets(self.temperature, self.weight, cap),
            LogitTerms(student.config.logit_soft_cap, self.next_token.z_loss),
        )
        return self.next_token.with_router(loss, router), {**metrics, **router}

    def _seen(self, batch: Mapping[str, jax.Array], *weights: Any) -> tuple[Any, Any, float | None]:
        """The input of ``SoftTargets``: the teacher's parts of positions, its table, its soft cap."""
        if self.teacher is None:
            return TopLogProbs(batch[TEACHER_LOG_PROBS], batch[TEACHER_IDS]), None, None
        teacher: Decoder = nnx.merge(self.teacher, *weights)
        states = jax.lax.stop_gradient(teacher_states(teacher, batch))
        if self.top_k is None:
            return states, teacher.logit_table().astype(states.dtype), teacher.config.logit_soft_cap
        return top_log_probs(teacher, states, self.top_k, self.temperature), None, None


def teacher_states(teacher: Decoder, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The teacher's final normed states [B, T, D] of a batch, with its own rotary base."""
    return read_rows(teacher, {name: rows for name, rows in batch.items() if name != "rope_base"}, PLAIN)[0]


def top_log_probs(
    teacher: Decoder, states: jax.Array, k: int, temperature: float, chunk_tokens: int = CHUNK_TOKENS
) -> TopLogProbs:
    """The k most probable next tokens, in falling order, and the probability of all others.

    Args:
        teacher: The model.
        states: [B, T, D] its final normed states.
        k: Tokens; at most V.
        temperature: Divides the logits.
        chunk_tokens: Positions whose logits are held at once.

    Returns:
        ``log_probs`` [B, T, k+1] float32; the last is -inf where k is V.
    """

    def chunk(part: jax.Array) -> TopLogProbs:
        log_probs = jax.nn.log_softmax(teacher.unembed(part) / temperature)
        top, ids = jax.lax.top_k(log_probs, k)
        rest = jnp.log(jnp.sum(_with(jnp.exp(log_probs), ids, jnp.zeros_like(top)), axis=-1, keepdims=True))
        return TopLogProbs(jnp.concatenate([top, rest], axis=-1), ids.astype(jnp.int32))

    found = jax.lax.map(chunk, split_time(states, chunk_tokens))
    return TopLogProbs(*(join_time(part, *states.shape[:2]) for part in found))


@dataclass(frozen=True)
class SoftTargets:
    """The ``RowLoss`` of distillation.

    Attributes:
        temperature: Softens both distributions.
        weight: Of the divergence.
        teacher_cap: Soft cap of the teacher's logits, where they are computed here.
    """

    temperature: float
    weight: float
    teacher_cap: float | None = None

    def __call__(
        self, logits: jax.Array, given: tuple[jax.Array, Any], table: jax.Array | None, terms: LogitTerms
    ) -> tuple[jax.Array, Metrics, jax.Array]:
        """Losses and their slopes.

        Args:
            logits: [C, V] float32, the student's.
            given: Targets [C] and the teacher's ``TopLogProbs`` or, with a table, its states [C, D].
            table: [V, D] of the teacher.
            terms: The z-loss.
        """
        wanted, seen = given
        hard, normaliser, probability, hit = hard_targets(logits, wanted)
        # At 1 the normaliser is there already.
        plain = self.temperature == 1
        ours = logits - normaliser[:, None] if plain else jax.nn.log_softmax(logits / self.temperature)
        if table is None:
            soft, soft_slope = top_divergence(ours, seen)
        else:
            theirs = jnp.einsum("CD,VD->CV", seen, table, preferred_element_type=jnp.float32)
            theirs = soft_cap(theirs, self.teacher_cap) / self.temperature
            soft, soft_slope = divergence(ours, jax.nn.log_softmax(theirs))
        soft *= self.temperature**2
        losses = self.weight * soft + (1.0 - self.weight) * hard
        slope = self.weight * self.temperature * soft_slope + (1.0 - self.weight) * (probability - hit)
        if terms.z_loss:
            losses += terms.z_loss * normaliser**2
            slope += 2.0 * terms.z_loss * normaliser[:, None] * probability
        return losses, {"distillation_loss": soft, "hard_loss": hard}, slope


def divergence(ours: jax.Array, theirs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """KL(teacher || student).

    Args:
        ours: [C, V] float32, the student's log-probabilities.
        theirs: [C, V] float32, the teacher's.

    Returns:
        Nats [C], and their slope by the student's logits [C, V].
    """
    target = jnp.exp(theirs)
    return jnp.sum(target * (theirs - ours), axis=-1), jnp.exp(ours) - target


def top_divergence(ours: jax.Array, teacher: TopLogProbs) -> tuple[jax.Array, jax.Array]:
    """KL(teacher || student) of k tokens and one class for all others.

    Args:
        ours: [C, V] float32, the student's log-probabilities.
        teacher: Of C positions, in any float type; rounded ones are made to sum to one again.

    Returns:
        Nats [C], and their slope by the student's logits [C, V].
    """
    given = jax.nn.log_softmax(teacher.log_probs.astype(jnp.float32))
    top, rest = given[:, :-1], given[:, -1]
    our_top = jnp.take_along_axis(ours, teacher.ids, axis=-1)
    others = _with(jnp.exp(ours), teacher.ids, jnp.zeros_like(top))
    # A sum of the other probabilities and not one minus the k, which would lose a small rest; it may be too small for a
    # float.
    our_rest = jnp.log(jnp.maximum(jnp.sum(others, axis=-1), jnp.finfo(jnp.float32).tiny))
    nats = jnp.sum(jnp.exp(top) * (top - our_top), axis=-1)
    nats += jnp.where(jnp.isneginf(rest), 0.0, jnp.exp(rest) * (rest - our_rest))
    # The others' class moves all of them by one factor: among them it says nothing.
    slope = others * (1.0 - jnp.exp(rest - our_rest))[:, None]
    return nats, _with(slope, teacher.ids, jnp.exp(our_top) - jnp.exp(top))


def _with(rows: jax.Array, ids: jax.Array, values: jax.Array) -> jax.Array:
    """Rows [C, V] with the values [C, k] at ids [C, k]; row by row, so that a mesh which splits rows leaves them."""
    return jax.vmap(lambda row, at, value: row.at[at].set(value))(rows, ids, values)
