"""Trains a decoder from scratch on token streams, whatever the loss, for ``pretrain`` and ``distill``.

The batch of a step is a function of its number (see ``data.training.mixture``), and checkpoints in the work folder hold
the state, so a killed training resumes and ends with the same bytes. Held-out bits per byte are measured per source
while it trains, because the mixture's effect shows there and not in the training loss.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from millrace.components.contract import Context, Inputs
from millrace.components.reports.curves import final_loss, loss_curve
from millrace.components.reports.files import write_json
from millrace.components.training.mixture import documents
from millrace.components.training.mixture.reading import Reading, read_batch
from millrace.components.training.mixture.schedule import Schedule
from millrace.data.training.mixture import Mixture
from millrace.model.devices import sharding
from millrace.model.losses.next_token import NextTokenLoss, learnt_tokens
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder, TrainingMode
from millrace.model.package import weights
from millrace.model.states import kept_states
from millrace.model.states.kept_states import KeptStates
from millrace.model.training import accumulate
from millrace.model.training.hooks import Digests, Hook, Log
from millrace.model.training.loop import History
from millrace.model.training.step import LossFunction, Objective, SharedStep

from . import digests as step_digests
from . import held_out as held_out_text
from . import report as pretrain_report
from .config import PretrainConfig
from .fitting import Fitting, optimizer_of
from .live import Live


@dataclass(frozen=True)
class Recipe:
    """Shared by trainings that differ only in their mixture's weights; made once, they compile once.

    Attributes:
        optimizer: With the learning rate of every step.
        gradient: How it is computed (see ``model/training/accumulate.py``).
        step: The compiled step.
    """

    optimizer: optax.GradientTransformation
    gradient: Callable[[accumulate.Loss], accumulate.Gradient]
    step: SharedStep


def make_recipe(config: PretrainConfig, mixture: Mixture) -> Recipe:
    """The recipe of a training; of the mixture only the steps of each phase count."""
    peaks = [
        (end, phase.learning_rate or config.learning_rate)
        for end, phase in zip(mixture.ends, config.phases, strict=True)
    ]
    optimizer = optimizer_of(
        config, mixture.total_steps, peaks=peaks, step_tokens=mixture.step_tokens, name=config.optimizer
    )
    return Recipe(optimizer, accumulate.split(config.accumulate_steps, learnt_tokens), SharedStep())


@dataclass(frozen=True)
class Task:
    """The objective of a training on token streams, with its other inputs.

    Attributes:
        component: The component that trains, for messages.
        loss: As ``fit`` takes it.
        batch: (step, rows) -> the step's arrays, of all rows or of those with these numbers.
        flops_per_token: From tokens of a row to the work of training on one of them.
        frozen: Untrained inputs of the loss.
        curves: Names of the loss's metrics that go into the report.
        title: The report's.
    """

    component: str
    loss: LossFunction
    batch: Callable[[int, Sequence[int] | None], Mapping[str, np.ndarray]]
    flops_per_token: Callable[[int], int]
    frozen: Sequence[Any] = ()
    curves: tuple[str, ...] = ()
    title: str = "Pretraining"


@dataclass(frozen=True)
class Trained:
    """The result of a training: the model and the record of its steps."""

    config: PretrainConfig
    shape: ModelConfig
    decoder: Decoder
    reading: Reading
    task: Task
    history: History


def next_token_loss(config: PretrainConfig) -> NextTokenLoss:
    """The loss on the tokens, with the terms that the configuration adds."""
    return NextTokenLoss(
        TrainingMode(config.remat, config.capacity_factor, config.unroll_layers),
        z_loss=config.z_loss,
        router_balance_loss=config.router_balance_loss,
        router_z_loss=config.router_z_loss,
    )


def train_on(
    task: Task,
    context: Context,
    config: PretrainConfig,
    reading: Reading,
    inputs: Inputs,
    until_steps: int | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """Trains any task over a reading of token streams.

    Raises:
        ComponentError: A step is not finite, or a signal asked it to end.
    """
    mixture = reading.mixture
    held_out = held_out_text.read(
        inputs.maybe("benchmarks"), reading.tokenizer, config.held_out_bytes_per_source
    )

    shape = config.model_shape(reading.streams.vocab_size)
    phases = Schedule(mixture)
    total_tokens = phases.tokens(mixture.total_steps)
    context.log.info(
        "%d parameters, %d steps, %d tokens", shape.parameter_count(), mixture.total_steps, total_tokens
    )
    fitting = Fitting(task.component, context, config, config.batch_sizes())
    work = [task.flops_per_token(phase.sequence_length_tokens) for phase in config.phases]
    live = Live(context, phases, mixture.total_steps, work, shape.compute_dtype, fitting.clock)
    made = recipe or make_recipe(config, mixture)
    with fitting.in_host_memory():
        decoder = network.create(shape, context.seed)

    def batches(step: int) -> Mapping[str, np.ndarray | jax.Array]:
        if fitting.mesh is None or jax.process_count() == 1:
            return task.batch(step, None)
        count = config.batch_sizes()[mixture.phase_of(step)]
        return sharding.read_own_rows(fitting.mesh, count, lambda rows: task.batch(step, rows))

    def advice(step: int) -> str:
        read = documents.in_words(documents.documents_of(reading.streams, mixture, step))
        return (
            f"lower it, lengthen warmup_steps ({config.warmup_steps}) or lower clip_norm ({config.clip_norm:g}); if the "
            f"text is to blame, drop it or set on_non_finite. The step read{read}"
        )

    hooks: list[Hook] = [Digests(config.digest_every_steps)] if config.digest_every_steps else []
    hooks.append(Log(config.log_every_steps, live))
    window, every = shape.max_sequence_tokens, config.evaluate_every_steps
    if evaluation := held_out_text.evaluation(held_out, window, every, fitting.report):
        hooks.append(evaluation)
    history = fitting.fit(
        decoder,
        Objective(
            task.loss,
            made.optimizer,
            made.gradient,
            task.frozen,
            config.on_non_finite,
            config.max_skipped_steps,
        ),
        batches,
        mixture.total_steps,
        hooks,
        advice=advice,
        kept=KeptStates(states_folder(context), config.keep_state_every_steps, context.log.warning),
        shared=made.step,
        until_steps=until_steps,
    )
    return Trained(config, shape, decoder, reading, task, history)


def states_folder(context: Context) -> Path:
    """Where a training keeps the states that stay, and finds one to begin with."""
    return context.work / "states"


def write(context: Context, trained: Trained, **more: Any) -> None:
    """Writes a trained model and the report, which also holds ``more``."""
    config, shape, history = trained.config, trained.shape, trained.history
    streams, mixture = trained.reading.streams, trained.reading.mixture
    phases = Schedule(mixture)
    total_tokens = phases.tokens(mixture.total_steps)
    facts: dict[str, Any] = {
        "parameters": shape.parameter_count(),
        "steps": mixture.total_steps,
        "tokens": total_tokens,
        "flops": sum(
            trained.task.flops_per_token(phase.sequence_length_tokens) * tokens
            for phase, tokens in zip(config.phases, phases.phase_tokens(mixture.total_steps), strict=True)
        ),
        "epochs": {name: round(times, 4) for name, times in sorted(mixture.epochs().items())},
        "final_loss": final_loss(history),
        "tokenizer_sha256": trained.reading.tokenizer.sha256,
    }
    facts["skipped_steps"] = len(history.skipped_steps)
    facts |= more
    skipped = [
        {"step": step, "rows": documents.documents_of(streams, mixture, step)}
        for step in history.skipped_steps
    ]
    weights.save(context.output("model"), shape, trained.decoder)
    write_json(context.output("model") / "training.json", facts)
    full = facts | report(history, phases, trained.task.curves) | {"skipped": skipped}
    write_json(context.output("report") / "report.json", full)
    page = pretrain_report.page(
        full, _phase_facts(config, mixture, phases), trained.task.curves, trained.task.title
    )
    (context.output("report") / "report.html").write_text(page, encoding="utf-8")
    step_digests.write(
        context.output("report") / step_digests.FILE, digests(trained, config.digest_every_steps)
    )
    _write_states(context)
    if skipped:
        context.metric("skipped_steps", len(skipped))
    context.metric("tokens_in", sum(streams.source_tokens.values()))
    context.metric("tokens_out", total_tokens)
    context.metric("parameters", shape.parameter_count())
    for name in ("loss", *trained.task.curves):
        context.metric(name, final_loss(history, name))
    for name, values in history.evaluations.items():
        context.metric(name, float(values[-1]))


def _write_states(context: Context) -> None:
    """Publishes the states that stay, and a list of them; the work folder needs its own until the stage is recorded."""
    folder = states_folder(context)
    steps = kept_states.steps(folder)
    for step in steps:
        name = kept_states.folder_name(step)
        shutil.copytree(folder / name, context.output("states") / name, copy_function=_link)
    write_json(context.output("states") / "states.json", {"steps": steps})


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no links
        shutil.copyfile(source, target)


def _phase_facts(config: PretrainConfig, mixture: Mixture, phases: Schedule) -> list[dict[str, Any]]:
    """The phases as the report's page shows them."""
    starts = [0, *mixture.ends[:-1]]
    tokens = phases.phase_tokens(mixture.total_steps)
    return [
        {
            "first_step": start,
            "steps": end - start,
            "tokens": count,
            "rows": phase.batch_size or config.batch_size,
            "sequence_length_tokens": phase.sequence_length_tokens,
            "weights": phase.numbers(),
        }
        for start, end, count, phase in zip(starts, mixture.ends, tokens, config.phases, strict=True)
    ]


def read_training_batch(
    config: PretrainConfig, reading: Reading, step: int, rows: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """The rows of a step, as ``NextTokenLoss`` takes them: ``rope_base`` float32 [B] too, where phases differ in it."""
    batch = read_batch(config, reading.streams, reading.mixture, step, rows)
    bases = config.rope_bases()
    if len(set(bases)) > 1:
        base = bases[reading.mixture.phase_of(step)]
        batch["rope_base"] = np.full(len(batch["tokens"]), base, np.float32)
    return batch


def digests(trained: Trained, every_steps: int, until_steps: int | None = None) -> list[step_digests.Record]:
    """The digests of a training's steps, or of the first ``until_steps``."""

    def batch(step: int) -> Mapping[str, np.ndarray]:
        return trained.task.batch(step, None)

    return step_digests.records(trained.history, batch, every_steps, until_steps, jax.device_count())


def report(history: History, phases: Schedule, curves: Sequence[str] = ()) -> dict[str, Any]:
    """The curves of ``report.json``; ``curves`` are the loss's metrics among them."""
    return {
        **{name: loss_curve(history, name) for name in ("loss", "gradient_norm", *curves)},
        "held_out": [
            {
                "step": step,
                "tokens": phases.tokens(step),
                **{name: round(float(values[index]), 5) for name, values in history.evaluations.items()},
            }
            for index, step in enumerate(history.evaluation_steps)
        ],
    }
