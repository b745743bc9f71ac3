"""``distill``: a decoder trained from scratch on token streams and on what a larger model says of every position.

It is ``pretrain`` with another loss (``model.losses.distillation``). The teacher is either a model, which then reads each
batch in the training step beside the student, or ``teacher_logits``, which read all of them before: that costs disk and
keeps k tokens of a distribution, and pays where several students learn from one teacher or the teacher does not fit
beside the student. Phases, seed and sampler are those of ``pretrain``, so a student and a model that was trained without
a teacher differ in nothing but the loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from millrace.components.contract import Component, ComponentError, Config, Context, Inputs, Port
from millrace.components.training import teacher
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture import proposed_weights
from millrace.components.training.mixture.reading import Reading, open_reading
from millrace.components.training.run import (
    Objective,
    Trained,
    next_token_loss,
    read_training_batch,
    train_on,
    write,
)

if TYPE_CHECKING:
    import numpy as np

CURVES = ("distillation_loss", "hard_loss")
TEACHERS = ("teacher", "teacher_logits")


class DistillationConfig(Config):
    """How the teacher counts."""

    temperature: float = Field(
        1.0, gt=0, description="Softens both distributions: more shows more of the improbable tokens."
    )
    weight: float = Field(
        0.9, ge=0, le=1, description="Of the divergence; the loss on the tokens themselves has the rest of 1."
    )
    top_k: int | None = Field(
        None,
        ge=1,
        description="Tokens compared one by one, all others together; none is the whole vocabulary, or as many as "
        "teacher_logits holds.",
    )


class DistillConfig(PretrainConfig):
    """Settings of ``distill``: those of ``pretrain``, and the teacher's part."""

    distillation: DistillationConfig = Field(
        default_factory=DistillationConfig, description="How the teacher counts."
    )


def train(context: Context, config: DistillConfig, inputs: Inputs, until_steps: int | None = None) -> Trained:
    """Trains from the newest checkpoint of the work folder, or afresh.

    Args:
        context: Takes metrics and has the work folder and the seed.
        config: The settings.
        inputs: Tokens, their tokenizer, a teacher or its logits and, optionally, held-out text.
        until_steps: Ends after so many steps, as a replay does.

    Raises:
        ComponentError: Inputs do not fit, a step is not finite, or a signal asked it to end.
    """
    for message in misfits(config, inputs.ports.keys()):
        raise ComponentError(f"distill: {message}")
    is_online = "teacher" in inputs.ports
    config, reading = open_reading("distill", context.seed, config, inputs)
    make = online if is_online else from_store
    how = config.distillation
    if how.weight == 1 and (how.top_k or not is_online):
        context.log.warning(
            "with weight 1 and the most probable tokens alone, nothing tells the others apart; 0.9 lets the tokens do it"
        )
    return train_on(make(context, config, reading, inputs), context, config, reading, inputs, until_steps)


def online(context: Context, config: DistillConfig, reading: Reading, inputs: Inputs) -> Objective:
    """The teacher reads every batch in the step; its weights are arguments of the step and are not trained."""
    from flax import nnx

    from millrace.model.losses.distillation import DistillationLoss

    how = config.distillation
    taught, model = teacher.load("distill", inputs, reading, config, how.top_k)
    student = config.model_shape(reading.streams.vocab_size)
    context.log.info(
        "a teacher of %d parameters for a student of %d", taught.parameter_count(), student.parameter_count()
    )
    graph, weights = nnx.split(model)
    return Objective(
        "distill",
        DistillationLoss(next_token_loss(config), how.temperature, how.weight, graph, how.top_k),
        lambda step, rows: read_training_batch(config, reading, step, rows),
        # A forward pass is a third of what the formula counts for a training step.
        lambda length: student.flops_per_token(length) + taught.flops_per_token(length) // 3,
        (nnx.to_pure_dict(weights),),
        CURVES,
        "Distillation",
    )


def from_store(context: Context, config: DistillConfig, reading: Reading, inputs: Inputs) -> Objective:
    """What the teacher says of a step is read with the step's batch."""
    from millrace.data.training.stored_logits import StoredLogits
    from millrace.model.losses.distillation import TEACHER_IDS, TEACHER_LOG_PROBS, DistillationLoss

    how = config.distillation
    stored = StoredLogits.load(inputs.one("teacher_logits").path)
    tokens = inputs.one("tokens").digest
    wanted = teacher.made_for(config, reading, context.seed, tokens, how.temperature)
    teacher.check_made_for("distill", stored.made_for, wanted)
    if how.top_k not in (None, stored.top_k):
        raise ComponentError(
            f"distill: got top_k {how.top_k} and teacher_logits of {stored.top_k} tokens a position, expected the same; "
            "leave top_k out, or store as many"
        )
    context.log.info("a teacher's %d most probable tokens of every position", stored.top_k)

    def batch(step: int, rows: Sequence[int] | None) -> dict[str, np.ndarray]:
        log_probs, ids = (part if rows is None else part[list(rows)] for part in stored.read(step))
        tokens = read_training_batch(config, reading, step, rows)
        return {**tokens, TEACHER_LOG_PROBS: log_probs, TEACHER_IDS: ids}

    return Objective(
        "distill",
        DistillationLoss(next_token_loss(config), how.temperature, how.weight),
        batch,
        config.model_shape(reading.streams.vocab_size).flops_per_token,
        curves=CURVES,
        title="Distillation",
    )


def misfits(config: DistillConfig, ports: Collection[str]) -> Iterator[str]:
    """What phases and the inputs that are given get wrong together, and a teacher that is missing or there twice."""
    yield from proposed_weights.misfits(config, ports)
    given = [port for port in TEACHERS if port in ports]
    if len(given) != 1:
        yield (
            f"got {' and '.join(given) or 'neither teacher nor teacher_logits'} as input, expected exactly one of teacher "
            "and teacher_logits"
        )


def run(context: Context, config: DistillConfig, inputs: Inputs) -> None:
    """Trains, measures, and writes the model and its report."""
    trained = train(context, config, inputs)
    write(context, trained, distillation=config.distillation.model_dump())


COMPONENT = Component(
    name="distill",
    summary="Trains a decoder from scratch on token streams and a teacher's distributions.",
    config=DistillConfig,
    inputs={
        "tokens": Port("tokens", "token streams by source"),
        "tokenizer": Port("tokenizer", "the tokenizer that made them, and that the teacher was trained with"),
        "teacher": Port("model", "a model that reads every batch; or take teacher_logits", optional=True),
        "teacher_logits": Port("teacher_logits", "what a teacher said of every batch", optional=True),
        "benchmarks": Port("benchmarks", "held-out text for bits per byte", optional=True),
        proposed_weights.PORT: Port("mixture", "weights for phases that say proposed", optional=True),
    },
    outputs={
        "model": Port("model", "the trained decoder"),
        "report": Port("report", "loss curves and held-out bits per byte"),
        "states": Port("states", "training states to begin a replay with, see keep_state_every_steps"),
    },
    run=run,
    key_metric="bits_per_byte",
    misfits=misfits,
    seed_of="pretrain",
)
