"""``distill``: a decoder trained from scratch on token streams and on a larger model's distribution at every position.

It is ``pretrain`` with another loss (``model.losses.distillation``). The teacher is either a model, which then reads each
batch in the training step beside the student, or ``teacher_logits``, which read all of them before: that costs disk and
keeps k tokens of a distribution, and pays where several students learn from one teacher or the teacher does not fit
beside the student. Phases, seed and sampler are those of ``pretrain``, so a student and a model that was trained without
a teacher differ only in the loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flax import nnx

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.teacher_logits import teacher
from millrace.components.training.mixture.reading import Reading, open_reading
from millrace.components.training.run import (
    Task,
    Trained,
    next_token_loss,
    read_training_batch,
    train_on,
    write,
)
from millrace.data.training.stored_logits import StoredLogits
from millrace.model.losses.distillation import TEACHER_IDS, TEACHER_LOG_PROBS, DistillationLoss

from .config import DistillConfig, misfits

CURVES = ("distillation_loss", "hard_loss")


def train(context: Context, config: DistillConfig, inputs: Inputs, until_steps: int | None = None) -> Trained:
    """Trains from the newest checkpoint of the work folder, or afresh.

    Args:
        context: Takes metrics and has the work folder and the seed.
        config: The settings.
        inputs: Tokens, their tokenizer, a teacher or its logits and, optionally, held-out text.
        until_steps: Ends after this many steps, as a replay does.

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


def online(context: Context, config: DistillConfig, reading: Reading, inputs: Inputs) -> Task:
    """The teacher reads every batch in the step; its weights are arguments of the step and are not trained."""
    how = config.distillation
    taught, model = teacher.load("distill", inputs, reading, config, how.top_k)
    student = config.model_shape(reading.streams.vocab_size)
    context.log.info(
        "a teacher of %d parameters for a student of %d", taught.parameter_count(), student.parameter_count()
    )
    graph, weights = nnx.split(model)
    return Task(
        "distill",
        DistillationLoss(next_token_loss(config), how.temperature, how.weight, graph, how.top_k),
        lambda step, rows: read_training_batch(config, reading, step, rows),
        # A forward pass is a third of what the formula counts for a training step.
        lambda length: student.flops_per_token(length) + taught.flops_per_token(length) // 3,
        (nnx.to_pure_dict(weights),),
        CURVES,
        "Distillation",
    )


def from_store(context: Context, config: DistillConfig, reading: Reading, inputs: Inputs) -> Task:
    """The teacher's distributions of a step are read with the step's batch."""
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

    return Task(
        "distill",
        DistillationLoss(next_token_loss(config), how.temperature, how.weight),
        batch,
        config.model_shape(reading.streams.vocab_size).flops_per_token,
        curves=CURVES,
        title="Distillation",
    )


def run(context: Context, config: DistillConfig, inputs: Inputs) -> None:
    """Trains, measures, and writes the model and its report."""
    trained = train(context, config, inputs)
    write(context, trained, distillation=config.distillation.model_dump())
