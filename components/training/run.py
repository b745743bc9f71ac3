"""Training a decoder from scratch on token streams, whatever the loss: what ``pretrain`` and ``distill`` share.

What a step reads is a function of its number (see ``data.training.mixture``), and what the model has learnt is in checkpoints
of the work folder, so a training that was killed goes on where it was and ends with the same bytes. Held-out bits per
byte are measured per source while it trains, because the mixture's effect shows there and not in the training loss.
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

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.reports.curves import final_loss, loss_curve
from millrace.components.reports.files import write_json
from millrace.components.training.mixture import documents
from millrace.components.training.mixture.reading import Reading, read_batch
from millrace.components.training.mixture.schedule import Schedule
from millrace.data.training.mixture import Mixture
from millrace.model.devices import sharding
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder, TrainingMode
from millrace.model.package import weights
from millrace.model.states import kept_states
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.states.kept_states import KeptStates
from millrace.model.states.replicas import NoRoom, Replicas
from millrace.model.training.goodput import Goodput
from millrace.model.training.loop import History, LossFunction, NonFiniteLoss, fit
from millrace.model.training.preemption import Preempted, StopRequest

from . import digests as step_digests
from . import held_out as held_out_text
from . import mesh as device_mesh
from . import recipe as training_recipe
from . import report as pretrain_report
from .config import PretrainConfig
from .live import Live
from .recipe import Recipe


@dataclass(frozen=True)
class Objective:
    """What a training on token streams minimises, and with what besides them.

    Attributes:
        component: The component that trains, for messages.
        loss: As ``fit`` takes it.
        batch: (step, rows) -> the step's arrays, of all rows or of those with these numbers.
        flops_per_token: From tokens of a row to the work of training on one of them.
        frozen: What the loss takes that is not trained.
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
    """What a training made: the model, and what it recorded on the way."""

    config: PretrainConfig
    shape: ModelConfig
    decoder: Decoder
    reading: Reading
    objective: Objective
    history: History


def next_token_loss(config: PretrainConfig) -> NextTokenLoss:
    """The loss on the tokens, with what the configuration adds to it."""
    return NextTokenLoss(
        TrainingMode(config.remat, config.capacity_factor, config.unroll_layers),
        z_loss=config.z_loss,
        router_balance_loss=config.router_balance_loss,
        router_z_loss=config.router_z_loss,
    )


def train_on(
    objective: Objective,
    context: Context,
    config: PretrainConfig,
    reading: Reading,
    inputs: Inputs,
    until_steps: int | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """``train`` for any objective over a reading of token streams."""
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
    mesh = device_mesh.build(config.mesh, config.batch_sizes())
    goodput = Goodput() if context.host else Goodput.since(context.work / "started")
    work = [objective.flops_per_token(phase.sequence_length_tokens) for phase in config.phases]
    on_log = Live(context, phases, mixture.total_steps, work, shape.compute_dtype, goodput)

    def on_evaluation(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            context.metric(name, value, step)

    made = recipe or training_recipe.make(config, mixture)
    with device_mesh.in_host_memory(mesh):
        decoder = network.create(shape, context.seed)

    def batches(step: int) -> Mapping[str, np.ndarray | jax.Array]:
        if mesh is None or jax.process_count() == 1:
            return objective.batch(step, None)
        count = config.batch_sizes()[mixture.phase_of(step)]
        return sharding.read_own_rows(mesh, count, lambda rows: objective.batch(step, rows))

    replicas = None
    if config.replica_every_steps and context.memory:
        replicas = Replicas(context.memory, config.replica_every_steps, context.log.warning)
    stored = Checkpoints(
        context.work / "checkpoints",
        keep=config.keep_checkpoints,
        log=context.log.warning,
    )
    with stored as checkpoints, StopRequest() as stop:
        try:
            history = fit(
                decoder,
                made.optimizer,
                objective.loss,
                batches,
                mixture.total_steps,
                frozen=objective.frozen,
                gradient=made.gradient,
                checkpoints=checkpoints,
                checkpoint_every_steps=config.checkpoint_every_steps,
                replicas=replicas,
                states=KeptStates(states_folder(context), config.keep_state_every_steps, context.log.warning),
                log_every_steps=config.log_every_steps,
                on_log=on_log,
                evaluation=held_out_text.evaluation(
                    held_out, shape.max_sequence_tokens, config.evaluate_every_steps
                ),
                on_evaluation=on_evaluation,
                on_non_finite=config.on_non_finite,
                most_skipped_steps=config.max_skipped_steps,
                digest_every_steps=config.digest_every_steps,
                until_steps=until_steps,
                stop=stop,
                notice=context.log.warning,
                goodput=goodput,
                mesh=mesh,
                shared=made.step,
            )
        except NonFiniteLoss as error:
            read = documents.documents_of(reading.streams, mixture, error.step)
            raise ComponentError(
                f"{objective.component}: {error}, with a peak learning_rate of {config.learning_rate:g}; lower it, lengthen "
                f"warmup_steps ({config.warmup_steps}) or lower clip_norm ({config.clip_norm:g}); if the text is to "
                f"blame, drop it or set on_non_finite. The step read{documents.in_words(read)}"
            ) from error
        except NoRoom as error:
            raise ComponentError(f"{objective.component}: {error}") from error
        except Preempted as error:
            context.log.warning("%s; %s", error, goodput.summary())
            raise ComponentError(f"{objective.component}: {error}") from error
    context.log.info("%s", goodput.summary())
    return Trained(config, shape, decoder, reading, objective, history)


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
            trained.objective.flops_per_token(phase.sequence_length_tokens) * tokens
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
    full = facts | report(history, phases, trained.objective.curves) | {"skipped": skipped}
    write_json(context.output("report") / "report.json", full)
    page = pretrain_report.page(
        full, _phase_facts(config, mixture, phases), trained.objective.curves, trained.objective.title
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
    for name in ("loss", *trained.objective.curves):
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
        return trained.objective.batch(step, None)

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
