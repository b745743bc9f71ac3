"""``pretrain``: a decoder trained from scratch on token streams, in phases with their own mixture.

What a step reads is a function of its number (see ``data.mixture``), and what the model has learnt is in checkpoints
of the work folder, so a training that was killed goes on where it was and ends with the same bytes. Held-out bits per
byte are measured per source while it trains, because the mixture's effect shows there and not in the training loss.

``train`` and ``write`` take an ``Objective``: ``distill`` is the same training with another loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from . import (
    device_mesh,
    held_out_text,
    pretrain_report,
    proposed_weights,
    step_digests,
    step_documents,
    training_recipe,
)
from .contract import Component, ComponentError, Context, Inputs, Port
from .mixture_config import MixtureConfig
from .phase_steps import Schedule
from .pretrain_config import PretrainConfig
from .pretrain_live import Live
from .training_report import final_loss, loss_curve, write_json

if TYPE_CHECKING:
    import jax
    import numpy as np

    from ..data.mixture import Mixture
    from ..data.token_stream import TokenStreams
    from ..data.tokenizer import Tokenizer
    from ..model.config import ModelConfig
    from ..model.fit import History, LossFunction
    from ..model.network import Decoder
    from ..model.pretraining_loss import NextTokenLoss
    from .training_recipe import Recipe

Settings = TypeVar("Settings", bound=MixtureConfig)


@dataclass(frozen=True)
class Reading:
    """What a stage reads, in which order.

    Attributes:
        streams: The token streams.
        tokenizer: The tokenizer that made them.
        mixture: The order.
    """

    streams: TokenStreams
    tokenizer: Tokenizer
    mixture: Mixture


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


def train(
    context: Context,
    config: PretrainConfig,
    inputs: Inputs,
    until_steps: int | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """Trains from the newest checkpoint of the work folder, or afresh.

    Args:
        context: Takes metrics and has the work folder and the seed.
        config: The settings.
        inputs: Tokens, their tokenizer and, optionally, held-out text and proposed weights.
        until_steps: Ends after so many steps, as a replay does.
        recipe: How steps are made, if another training of the same configuration, but for the weights, made it.

    Raises:
        ComponentError: Inputs do not fit, a step is not finite, or a signal asked it to end.
    """
    config, reading = open_reading("pretrain", context.seed, config, inputs)
    shape = config.model_shape(reading.streams.vocab_size)
    objective = Objective(
        "pretrain",
        next_token_loss(config),
        lambda step, rows: read_training_batch(config, reading, step, rows),
        shape.flops_per_token,
    )
    return train_on(objective, context, config, reading, inputs, until_steps, recipe)


def open_reading(component: str, seed: int, config: Settings, inputs: Inputs) -> tuple[Settings, Reading]:
    """Opens the streams and their tokenizer, fills in proposed weights, and plans the order.

    Raises:
        ComponentError: They do not fit each other or the phases.
    """
    from ..data.token_stream import TokenStreams
    from ..data.tokenizer import Tokenizer

    streams = TokenStreams.load(inputs.one("tokens").path)
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    if streams.vocab_size != tokenizer.vocab_size:
        raise ComponentError(
            f"{component}: got tokens of a vocabulary of {streams.vocab_size} and a tokenizer of "
            f"{tokenizer.vocab_size}, expected the same; take both from one pipeline"
        )
    proposal = inputs.maybe(proposed_weights.PORT)
    config = proposed_weights.resolve(component, config, proposal, streams.sources)
    mixture = plan(config, seed, streams.source_tokens, streams.vocab_size, component)
    return config, Reading(streams, tokenizer, mixture)


def next_token_loss(config: PretrainConfig) -> NextTokenLoss:
    """The loss on the tokens, with what the configuration adds to it."""
    from ..model.network import TrainingMode
    from ..model.pretraining_loss import NextTokenLoss

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

    import jax

    from ..model import network, sharding
    from ..model.checkpoint import Checkpoints
    from ..model.fit import NonFiniteLoss, fit
    from ..model.goodput import Goodput
    from ..model.preemption import Preempted, StopRequest
    from ..model.replicas import NoRoom, Replicas

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
        keep_every_steps=config.keep_checkpoint_every_steps,
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
            read = step_documents.documents_of(reading.streams, mixture, error.step)
            raise ComponentError(
                f"{objective.component}: {error}, with a peak learning_rate of {config.learning_rate:g}; lower it, lengthen "
                f"warmup_steps ({config.warmup_steps}) or lower clip_norm ({config.clip_norm:g}); if the text is to "
                f"blame, drop it or set on_non_finite. The step read{step_documents.in_words(read)}"
            ) from error
        except NoRoom as error:
            raise ComponentError(f"{objective.component}: {error}") from error
        except Preempted as error:
            context.log.warning("%s; %s", error, goodput.summary())
            raise ComponentError(f"{objective.component}: {error}") from error
    context.log.info("%s", goodput.summary())
    return Trained(config, shape, decoder, reading, objective, history)


def run(context: Context, config: PretrainConfig, inputs: Inputs) -> None:
    """Trains, measures, and writes the model and its report."""
    trained = train(context, config, inputs)
    if context.host:
        return  # host 0 writes what all of them trained
    write(context, trained)


def write(context: Context, trained: Trained, **more: Any) -> None:
    """Writes a trained model and the report, which also holds ``more``."""
    from ..model import weights

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
        {"step": step, "rows": step_documents.documents_of(streams, mixture, step)}
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
    if skipped:
        context.metric("skipped_steps", len(skipped))
    context.metric("tokens_in", sum(streams.source_tokens.values()))
    context.metric("tokens_out", total_tokens)
    context.metric("parameters", shape.parameter_count())
    for name in ("loss", *trained.objective.curves):
        context.metric(name, final_loss(history, name))
    for name, values in history.evaluations.items():
        context.metric(name, float(values[-1]))


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


def plan(
    config: MixtureConfig,
    seed: int,
    source_tokens: Mapping[str, int],
    vocab_size: int,
    component: str = "pretrain",
) -> Mixture:
    """The mixture of the phases; the vocabulary counts where the model's size sets the tokens.

    Raises:
        ComponentError: Phases, sources and token counts do not fit each other.
    """
    from ..data.mixture import Mixture, Phase

    phases = [
        Phase(end, phase.sequence_length_tokens, phase.numbers(), phase.batch_size)
        for end, phase in zip(config.phase_ends(vocab_size), config.phases, strict=True)
    ]
    try:
        mixture = Mixture(seed, config.batch_size, phases, source_tokens)
    except ValueError as error:
        raise ComponentError(f"{component}: {error}; change phases or what is tokenized") from error
    for source, times in sorted(mixture.epochs().items()):
        if times > config.max_epochs:
            raise ComponentError(
                f"{component}: the phases read {source!r} ({source_tokens[source]} tokens) {times:.1f} times, expected "
                f"at most max_epochs = {config.max_epochs:g}; lower its weight or the training's tokens, or add text"
            )
    return mixture


def read_batch(
    config: MixtureConfig,
    streams: TokenStreams,
    mixture: Mixture,
    step: int,
    rows: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """The rows of a step, or only those with these numbers.

    Returns:
        ``tokens`` int32 [B, T+1]; packed by documents, ``segments`` and ``positions`` too.
    """
    import numpy as np

    from ..data import packing

    spans = mixture.locate(step)
    if rows is not None:
        spans = [spans[row] for row in rows]
    batch = {"tokens": np.stack([streams.read(*span) for span in spans]).astype(np.int32)}
    if config.packing == "documents":
        parts = [packing.segments(streams.starts(name), first, length) for name, first, length in spans]
        batch["segments"], batch["positions"] = (np.stack(part) for part in zip(*parts, strict=True))
    return batch


def read_training_batch(
    config: PretrainConfig, reading: Reading, step: int, rows: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """The rows of a step, as ``NextTokenLoss`` takes them: ``rope_base`` float32 [B] too, where phases differ in it."""
    import numpy as np

    batch = read_batch(config, reading.streams, reading.mixture, step, rows)
    bases = config.rope_bases()
    if len(set(bases)) > 1:
        base = bases[reading.mixture.phase_of(step)]
        batch["rope_base"] = np.full(len(batch["tokens"]), base, np.float32)
    return batch


def digests(trained: Trained, every_steps: int, until_steps: int | None = None) -> list[step_digests.Record]:
    """The digests of a training's steps, or of the first ``until_steps``."""
    return step_digests.records(
        trained.history, lambda step: trained.objective.batch(step, None), every_steps, until_steps
    )


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


COMPONENT = Component(
    name="pretrain",
    summary="Trains a decoder from scratch on staged mixtures of token streams.",
    config=PretrainConfig,
    inputs={
        "tokens": Port("tokens", "token streams by source"),
        "tokenizer": Port("tokenizer", "the tokenizer that made them"),
        "benchmarks": Port("benchmarks", "held-out text for bits per byte", optional=True),
        proposed_weights.PORT: Port("mixture", "weights for phases that say proposed", optional=True),
    },
    outputs={
        "model": Port("model", "the trained decoder"),
        "report": Port("report", "loss curve and held-out bits per byte"),
    },
    run=run,
    key_metric="bits_per_byte",
    misfits=proposed_weights.misfits,
    several_hosts=True,
    keeps_memory=lambda config: config.replica_every_steps > 0,
)
