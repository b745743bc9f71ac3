"""``pretrain``: a decoder trained from scratch on token streams, in phases with their own mixture.

What a step reads is a function of its number (see ``data.mixture``), and what the model has learnt is in checkpoints
of the work folder, so a training that was killed goes on where it was and ends with the same bytes. Held-out bits per
byte are measured per source while it trains, because the mixture's effect shows there and not in the training loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import device_mesh, held_out_text, pretrain_report, step_digests, step_documents
from .contract import Component, ComponentError, Context, Inputs, Port
from .phase_steps import Schedule
from .pretrain_config import PretrainConfig
from .pretrain_live import Live
from .training_report import final_loss, loss_curve, write_json

if TYPE_CHECKING:
    import jax
    import numpy as np

    from ..data.mixture import Mixture
    from ..data.token_stream import TokenStreams
    from ..model.config import ModelConfig
    from ..model.fit import History
    from ..model.network import Decoder


@dataclass(frozen=True)
class Trained:
    """What a training made: the model, and what it recorded on the way."""

    config: PretrainConfig
    shape: ModelConfig
    decoder: Decoder
    streams: TokenStreams
    mixture: Mixture
    history: History


def train(
    context: Context, config: PretrainConfig, inputs: Inputs, until_steps: int | None = None
) -> Trained:
    """Trains from the newest checkpoint of the work folder, or afresh.

    Args:
        context: Takes metrics and has the work folder and the seed.
        config: The settings.
        inputs: Tokens, their tokenizer and, optionally, held-out text.
        until_steps: Ends after so many steps, as a replay does.

    Raises:
        ComponentError: Inputs do not fit, a step is not finite, or a signal asked it to end.
    """
    from ..data.token_stream import TokenStreams
    from ..data.tokenizer import Tokenizer

    streams = TokenStreams.load(inputs.one("tokens").path)
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    if streams.vocab_size != tokenizer.vocab_size:
        raise ComponentError(
            f"pretrain: got tokens of a vocabulary of {streams.vocab_size} and a tokenizer of "
            f"{tokenizer.vocab_size}, expected the same; take both from one pipeline"
        )
    mixture = plan(config, context.seed, streams.source_tokens, streams.vocab_size)
    held_out = held_out_text.read(inputs.maybe("benchmarks"), tokenizer, config.held_out_bytes_per_source)

    import jax

    from ..model import accumulate, network, sharding
    from ..model.checkpoint import Checkpoints
    from ..model.fit import NonFiniteLoss, fit
    from ..model.goodput import Goodput
    from ..model.network import TrainingMode
    from ..model.optimizer import learning_rate_schedule, make_optimizer
    from ..model.preemption import Preempted, StopRequest
    from ..model.pretraining_loss import NextTokenLoss, learnt_tokens
    from ..model.replicas import NoRoom, Replicas

    shape = config.model_shape(streams.vocab_size)
    phases = Schedule(mixture)
    total_tokens = phases.tokens(mixture.total_steps)
    context.log.info(
        "%d parameters, %d steps, %d tokens", shape.parameter_count(), mixture.total_steps, total_tokens
    )
    mesh = device_mesh.build(config.mesh, [phase.batch_size or config.batch_size for phase in config.phases])
    goodput = Goodput() if context.host else Goodput.since(context.work / "started")
    lengths = [phase.sequence_length_tokens for phase in config.phases]
    on_log = Live(context, phases, mixture.total_steps, lengths, shape, goodput)

    def on_evaluation(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            context.metric(name, value, step)

    schedule = learning_rate_schedule(
        [
            (end, phase.learning_rate or config.learning_rate)
            for end, phase in zip(mixture.ends, config.phases, strict=True)
        ],
        total_steps=mixture.total_steps,
        warmup_steps=config.warmup_steps,
        decay=config.decay,
        decay_fraction=config.decay_fraction,
        final_fraction=config.final_fraction,
        step_tokens=mixture.step_tokens,
    )
    optimizer = make_optimizer(
        schedule,
        name=config.optimizer,
        weight_decay=config.weight_decay,
        beta2=config.beta2,
        clip_norm=config.clip_norm,
    )
    decoder = network.create(shape, context.seed)

    def batches(step: int) -> Mapping[str, np.ndarray | jax.Array]:
        if mesh is None or jax.process_count() == 1:
            return read_batch(config, streams, mixture, step)
        count = config.phases[mixture.phase_of(step)].batch_size or config.batch_size
        return sharding.read_own_rows(
            mesh, count, lambda rows: read_batch(config, streams, mixture, step, rows)
        )

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
                optimizer,
                NextTokenLoss(
                    TrainingMode(config.remat, config.capacity_factor),
                    z_loss=config.z_loss,
                    router_balance_loss=config.router_balance_loss,
                    router_z_loss=config.router_z_loss,
                ),
                batches,
                mixture.total_steps,
                gradient=accumulate.split(config.accumulate_steps, learnt_tokens),
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
            )
        except NonFiniteLoss as error:
            read = step_documents.documents_of(streams, mixture, error.step)
            raise ComponentError(
                f"pretrain: {error}, with a peak learning_rate of {config.learning_rate:g}; lower it, lengthen "
                f"warmup_steps ({config.warmup_steps}) or lower clip_norm ({config.clip_norm:g}); if the text is to "
                f"blame, drop it or set on_non_finite. The step read{step_documents.in_words(read)}"
            ) from error
        except NoRoom as error:
            raise ComponentError(f"pretrain: {error}") from error
        except Preempted as error:
            context.log.warning("%s; %s", error, goodput.summary())
            raise ComponentError(f"pretrain: {error}") from error
    context.log.info("%s", goodput.summary())
    return Trained(config, shape, decoder, streams, mixture, history)


def run(context: Context, config: PretrainConfig, inputs: Inputs) -> None:
    """Trains, measures, and writes the model and its report."""
    from ..model import weights

    trained = train(context, config, inputs)
    if context.host:
        return  # host 0 writes what all of them trained
    shape, mixture, history = trained.shape, trained.mixture, trained.history
    phases = Schedule(mixture)
    total_tokens = phases.tokens(mixture.total_steps)
    facts: dict[str, Any] = {
        "parameters": shape.parameter_count(),
        "steps": mixture.total_steps,
        "tokens": total_tokens,
        "flops": sum(
            shape.flops_per_token(phase.sequence_length_tokens) * tokens
            for phase, tokens in zip(config.phases, phases.phase_tokens(mixture.total_steps), strict=True)
        ),
        "epochs": {name: round(times, 4) for name, times in sorted(mixture.epochs().items())},
        "final_loss": final_loss(history),
    }
    facts["skipped_steps"] = len(history.skipped_steps)
    skipped = [
        {"step": step, "rows": step_documents.documents_of(trained.streams, mixture, step)}
        for step in history.skipped_steps
    ]
    weights.save(context.output("model"), shape, trained.decoder)
    write_json(context.output("model") / "training.json", facts)
    full = facts | report(history, phases) | {"skipped": skipped}
    write_json(context.output("report") / "report.json", full)
    page = pretrain_report.page(full, _phase_facts(config, mixture, phases))
    (context.output("report") / "report.html").write_text(page, encoding="utf-8")
    step_digests.write(
        context.output("report") / step_digests.FILE, digests(trained, config.digest_every_steps)
    )
    if skipped:
        context.metric("skipped_steps", len(skipped))
    context.metric("tokens_in", sum(trained.streams.source_tokens.values()))
    context.metric("tokens_out", total_tokens)
    context.metric("parameters", shape.parameter_count())
    context.metric("loss", final_loss(history))
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
            "weights": phase.weights,
        }
        for start, end, count, phase in zip(starts, mixture.ends, tokens, config.phases, strict=True)
    ]


def plan(config: PretrainConfig, seed: int, source_tokens: Mapping[str, int], vocab_size: int) -> Mixture:
    """The mixture of the phases; the vocabulary counts where the model's size sets the tokens.

    Raises:
        ComponentError: Phases, sources and token counts do not fit each other.
    """
    from ..data.mixture import Mixture, Phase

    phases = [
        Phase(end, phase.sequence_length_tokens, phase.weights, phase.batch_size)
        for end, phase in zip(config.phase_ends(vocab_size), config.phases, strict=True)
    ]
    try:
        mixture = Mixture(seed, config.batch_size, phases, source_tokens)
    except ValueError as error:
        raise ComponentError(f"pretrain: {error}; change phases or what is tokenized") from error
    for source, times in sorted(mixture.epochs().items()):
        if times > config.max_epochs:
            raise ComponentError(
                f"pretrain: the phases read {source!r} ({source_tokens[source]} tokens) {times:.1f} times, expected "
                f"at most max_epochs = {config.max_epochs:g}; lower its weight or the training's tokens, or add text"
            )
    return mixture


def read_batch(
    config: PretrainConfig,
    streams: TokenStreams,
    mixture: Mixture,
    step: int,
    rows: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """The rows of a step, or only those with these numbers, as ``NextTokenLoss`` takes them.

    Returns:
        ``tokens`` int32 [B, T+1]; packed by documents, ``segments`` and ``positions`` too; ``rope_base`` float32 [B]
        where phases differ in it.
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
    bases = config.rope_bases()
    if len(set(bases)) > 1:
        batch["rope_base"] = np.full(len(spans), bases[mixture.phase_of(step)], np.float32)
    return batch


def digests(trained: Trained, every_steps: int, until_steps: int | None = None) -> list[step_digests.Record]:
    """The digests of a training's steps, or of the first ``until_steps``."""
    return step_digests.records(
        trained.history,
        lambda step: read_batch(trained.config, trained.streams, trained.mixture, step),
        every_steps,
        until_steps,
    )


def report(history: History, phases: Schedule) -> dict[str, Any]:
    """The curves of ``report.json``."""
    return {
        "loss": loss_curve(history),
        "gradient_norm": loss_curve(history, "gradient_norm"),
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
    },
    outputs={
        "model": Port("model", "the trained decoder"),
        "report": Port("report", "loss curve and held-out bits per byte"),
    },
    run=run,
    key_metric="bits_per_byte",
    several_hosts=True,
    keeps_memory=lambda config: config.replica_every_steps > 0,
)
