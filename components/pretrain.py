"""``pretrain``: a decoder trained from scratch on token streams, in phases with their own mixture.

What a step reads is a function of its number (see ``data.mixture``), and what the model has learnt is in checkpoints
of the work folder, so a training that was killed goes on where it was and ends with the same bytes. Held-out bits per
byte are measured per source while it trains, because the mixture's effect shows there and not in the training loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from . import device_mesh, held_out_text, step_digests, step_documents, token_budget
from .contract import Component, ComponentError, Config, Context, Inputs, Port, runtime
from .model_shape import ModelShape
from .training_report import final_loss, loss_curve, write_json

if TYPE_CHECKING:
    import numpy as np

    from ..data.mixture import Mixture
    from ..data.token_stream import TokenStreams
    from ..model.config import ModelConfig
    from ..model.fit import History
    from ..model.goodput import Goodput
    from ..model.network import Decoder


class PhaseConfig(Config):
    """One stage of the staged mixture."""

    until_tokens: int | None = Field(
        None, ge=1, description="Training tokens, from the start of the run, at which it ends."
    )
    share: float | None = Field(
        None, gt=0, le=1, description="Its part of the run's tokens, in place of until_tokens."
    )
    sequence_length_tokens: int = Field(256, ge=2, description="Tokens per row.")
    weights: dict[str, float] = Field(min_length=1, description="Source -> weight; need not sum to one.")
    learning_rate: float | None = Field(None, gt=0, description="Peak in this phase, if another.")
    batch_size: int | None = Field(None, ge=1, description="Rows per step in this phase, if another.")
    rope_base: float | None = Field(
        None,
        gt=1,
        description="Base of the rotary frequencies in this phase, if another: more for longer rows.",
    )

    @model_validator(mode="after")
    def _one_end(self) -> PhaseConfig:
        if (self.until_tokens is None) == (self.share is None):
            raise ValueError(
                f"got until_tokens {self.until_tokens} and share {self.share}, expected exactly one of them"
            )
        return self


class PretrainConfig(Config):
    """Settings of ``pretrain``."""

    model: ModelShape = Field(default_factory=ModelShape, description="Sizes of the decoder.")
    phases: list[PhaseConfig] = Field(min_length=1, description="Mixture by phase, in order.")
    tokens: Annotated[int, Field(ge=1)] | Literal["compute_optimal"] | None = Field(
        None, description="Training tokens of phases with shares; compute_optimal takes 20 per parameter."
    )
    over_train: float = Field(1.0, gt=0, description="Factor on compute_optimal.")
    packing: Literal["concatenate", "documents"] = Field(
        "concatenate", description="Whether a row's tokens see all before them, or their own document only."
    )
    batch_size: int = Field(8, ge=1, description="Rows per step.")
    accumulate_steps: int = Field(
        1, ge=1, description="Parts of a batch, one after the other; saves memory, changes the last bits."
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon takes the hidden matrices and leaves the rest to AdamW, at one learning rate.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(20, ge=0, description="Steps of linear rise.")
    decay: Literal["stable", "cosine", "constant"] = Field(
        "stable", description="Schedule after warmup; stable falls linearly over the last decay_fraction."
    )
    decay_fraction: float = Field(0.4, ge=0, le=1, description="Share of the tokens that fall, if stable.")
    final_fraction: float = Field(0.1, ge=0, le=1, description="Learning rate at the end over its peak.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    beta2: float = Field(0.95, gt=0, lt=1, description="Adam's decay of the second moment.")
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
    z_loss: float = Field(
        0.0, ge=0, description="Weight of the squared log-normaliser; 1e-4 steadies long trainings."
    )
    router_balance_loss: float = Field(
        0.01, ge=0, description="Weight of the balance loss of experts' routers; 1e-2 is usual."
    )
    router_z_loss: float = Field(0.001, ge=0, description="Weight of the routers' z-loss.")
    capacity_factor: float | None = Field(
        None, gt=0, description="Places of an expert over its even share; none is dropless."
    )
    remat: Literal["none", "dots", "full"] = Field(
        "none",
        description="What the backward pass computes again: nothing, all but products, or all of a layer.",
    )
    max_epochs: float = Field(
        16.0, gt=0, description="Most passes over any source; a plan that needs more is an error."
    )
    evaluate_every_steps: int = Field(200, ge=1, description="Steps between held-out measurements.")
    held_out_bytes_per_source: int = Field(65_536, ge=256, description="Held-out text used per source.")
    on_non_finite: Literal["stop", "skip", "rewind"] = Field(
        "stop",
        description="A step whose loss or gradient is not finite ends the training, has no update, or makes it go back "
        "to the newest checkpoint to leave that update out.",
    )
    max_skipped_steps: int = Field(10, ge=0, description="Most updates that skip or rewind leave out.")
    digest_every_steps: int = Field(
        100, ge=0, description="Steps between the digests that `millrace replay` compares; 0 records none."
    )
    checkpoint_every_steps: int = runtime(50, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = runtime(2, ge=1, description="How many of the newest checkpoints to keep.")
    keep_checkpoint_every_steps: int = runtime(
        0, ge=0, description="Also keeps checkpoints of multiples of so many steps while it trains."
    )
    log_every_steps: int = runtime(10, ge=1, description="Steps between live metrics.")
    mesh: device_mesh.MeshConfig = runtime(
        device_mesh.MeshConfig(), description="Devices along each axis; all of them by default."
    )

    @model_validator(mode="after")
    def _phases_fit(self) -> PretrainConfig:
        shares = [phase.share for phase in self.phases if phase.share is not None]
        if len(shares) != (0 if self.tokens is None else len(self.phases)):
            raise ValueError(
                f"got tokens {self.tokens} and {len(shares)} of {len(self.phases)} phases with a share, expected tokens "
                "and a share for every phase, or no tokens and until_tokens for every phase"
            )
        if shares and abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"got phases whose shares sum to {sum(shares):g}, expected 1")
        if self.over_train != 1 and self.tokens != "compute_optimal":
            raise ValueError(
                f"got over_train {self.over_train:g} and tokens {self.tokens}, expected compute_optimal with it"
            )
        for rows in [phase.batch_size or self.batch_size for phase in self.phases]:
            if rows % self.accumulate_steps:
                raise ValueError(
                    f"got accumulate_steps {self.accumulate_steps} and batches of {rows} rows, expected a divisor"
                )
        return self

    def model_shape(self, vocab_size: int) -> ModelConfig:
        """The configuration of the trained model: as the last phase leaves it, with room for the longest row."""
        longest = max(phase.sequence_length_tokens for phase in self.phases)
        return replace(self.model.model_config_for(vocab_size, longest), rope_base=self.rope_bases()[-1])

    def rope_bases(self) -> list[float]:
        """The base of each phase."""
        return [phase.rope_base or self.model.rope_base for phase in self.phases]

    def phase_ends(self, vocab_size: int) -> list[int]:
        """Tokens from the start of the run at which each phase ends."""
        if self.tokens is None:
            return [phase.until_tokens for phase in self.phases if phase.until_tokens is not None]
        total = self.tokens
        if total == "compute_optimal":
            parameters = self.model_shape(vocab_size).parameter_count()
            total = token_budget.compute_optimal_tokens(parameters, self.over_train)
        return token_budget.phase_ends([phase.share or 0.0 for phase in self.phases], total)


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

    from ..model import accumulate, network
    from ..model.checkpoint import Checkpoints
    from ..model.fit import NonFiniteLoss, fit
    from ..model.goodput import Goodput
    from ..model.network import TrainingMode
    from ..model.optimizer import learning_rate_schedule, make_optimizer
    from ..model.preemption import Preempted, StopRequest
    from ..model.pretraining_loss import NextTokenLoss, learnt_tokens

    shape = config.model_shape(streams.vocab_size)
    phases = Schedule(mixture)
    total_tokens = phases.tokens(mixture.total_steps)
    context.log.info(
        "%d parameters, %d steps, %d tokens", shape.parameter_count(), mixture.total_steps, total_tokens
    )
    mesh = device_mesh.build(config.mesh, [phase.batch_size or config.batch_size for phase in config.phases])
    goodput = Goodput()
    on_log = live(context, mixture.total_steps, phases, goodput)

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
                lambda step: read_batch(config, streams, mixture, step),
                mixture.total_steps,
                gradient=accumulate.split(config.accumulate_steps, learnt_tokens),
                checkpoints=checkpoints,
                checkpoint_every_steps=config.checkpoint_every_steps,
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
        except Preempted as error:
            context.log.warning("%s; %s", error, goodput.summary())
            raise ComponentError(f"pretrain: {error}") from error
    context.log.info("%s", goodput.summary())
    return Trained(config, shape, decoder, streams, mixture, history)


def run(context: Context, config: PretrainConfig, inputs: Inputs) -> None:
    """Trains, measures, and writes the model and its report."""
    from ..model import weights

    trained = train(context, config, inputs)
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
    write_json(
        context.output("report") / "report.json", facts | report(history, phases) | {"skipped": skipped}
    )
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


class Schedule:
    """How many tokens the phases of a mixture have."""

    def __init__(self, mixture: Mixture) -> None:
        self._ends, self._step_tokens = mixture.ends, mixture.step_tokens

    def phase_tokens(self, done_steps: int) -> list[int]:
        """Training tokens of each phase in the first ``done_steps`` steps."""
        starts = [0, *self._ends[:-1]]
        return [
            max(min(done_steps, end) - start, 0) * tokens
            for start, end, tokens in zip(starts, self._ends, self._step_tokens, strict=True)
        ]

    def tokens(self, done_steps: int) -> int:
        """Training tokens in the first ``done_steps`` steps."""
        return sum(self.phase_tokens(done_steps))


def read_batch(
    config: PretrainConfig, streams: TokenStreams, mixture: Mixture, step: int
) -> dict[str, np.ndarray]:
    """The rows of a step, as ``NextTokenLoss`` takes them.

    Returns:
        ``tokens`` int32 [B, T+1]; packed by documents, ``segments`` and ``positions`` too; ``rope_base`` float32 [B]
        where phases differ in it.
    """
    import numpy as np

    from ..data import packing

    spans = mixture.locate(step)
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


def live(
    context: Context, total_steps: int, phases: Schedule, goodput: Goodput
) -> Callable[[int, Mapping[str, float]], None]:
    """Reports loss, speed and goodput while training runs; wall times go nowhere else."""
    last = [time.monotonic(), 0.0]
    total_tokens = phases.tokens(total_steps)

    def on_log(step: int, values: Mapping[str, float]) -> None:
        now, tokens = time.monotonic(), phases.tokens(step)
        context.metric("loss", values["loss"], step)
        context.metric("gradient_norm", values["gradient_norm"], step)
        if last[1]:
            context.metric("tokens_per_second", (tokens - last[1]) / max(now - last[0], 1e-9), step)
        context.metric("goodput", goodput.share(), step)
        last[:] = now, tokens
        context.progress(tokens, total_tokens, "tokens")

    return on_log


def report(history: History, phases: Schedule) -> dict[str, Any]:
    """The curves of ``report.json``."""
    return {
        "loss": loss_curve(history),
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
)
