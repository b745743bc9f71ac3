"""``pretrain``: a decoder trained from scratch on token streams, in phases with their own mixture.

What a step reads is a function of its number (see ``data.mixture``), and what the model has learnt is in checkpoints
of the work folder, so a training that was killed goes on where it was and ends with the same bytes. Held-out bits per
byte are measured per source while it trains, because the mixture's effect shows there and not in the training loss.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from . import held_out_text, step_digests, step_documents
from .contract import Component, ComponentError, Config, Context, Inputs, Port, runtime
from .training_report import final_loss, loss_curve, write_json

if TYPE_CHECKING:
    import numpy as np

    from ..data.mixture import Mixture
    from ..data.token_stream import TokenStreams
    from ..model.config import ModelConfig
    from ..model.fit import History
    from ..model.goodput import Goodput
    from ..model.network import Decoder


class ModelShape(Config):
    """Sizes of the decoder; the vocabulary comes from the tokenizer, the longest sequence from the phases."""

    layers: int = Field(4, ge=1, le=512, description="Number of decoder layers.")
    model_size: int = Field(128, ge=8, description="Width of the residual stream.")
    heads: int = Field(4, ge=1, description="Query heads.")
    kv_heads: int = Field(1, ge=1, description="Key-value heads: 1 is multi-query attention.")
    head_size: int = Field(32, ge=2, description="Width of one head; even.")
    feed_forward_size: int = Field(384, ge=8, description="Width of the gated feed-forward layer.")
    rope_base: float = Field(10_000.0, gt=1, description="Base of the rotary frequencies.")
    activation: Literal["gelu", "silu"] = Field("gelu", description="Gate: GeGLU or SwiGLU.")
    compute_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Type of matrix products; bfloat16 pays on accelerators only."
    )

    def model_config_for(self, vocab_size: int, max_sequence_tokens: int) -> ModelConfig:
        """The model's configuration."""
        from ..model.config import ModelConfig

        return ModelConfig(
            vocab_size=vocab_size, max_sequence_tokens=max_sequence_tokens, **self.model_dump()
        )

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelShape:
        self.model_config_for(1, 1)
        return self


class PhaseConfig(Config):
    """One stage of the staged mixture."""

    until_tokens: int = Field(
        ge=1, description="Training tokens, from the start of the run, at which it ends."
    )
    sequence_length_tokens: int = Field(256, ge=2, description="Tokens per row.")
    weights: dict[str, float] = Field(min_length=1, description="Source -> weight; need not sum to one.")
    learning_rate: float | None = Field(None, gt=0, description="Peak in this phase, if another.")


class PretrainConfig(Config):
    """Settings of ``pretrain``."""

    model: ModelShape = Field(default_factory=ModelShape, description="Sizes of the decoder.")
    phases: list[PhaseConfig] = Field(min_length=1, description="Mixture by phase, in order.")
    batch_size: int = Field(8, ge=1, description="Rows per step.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(20, ge=0, description="Steps of linear rise.")
    decay: Literal["stable", "cosine", "constant"] = Field(
        "stable", description="Schedule after warmup; stable falls linearly over the last decay_fraction."
    )
    decay_fraction: float = Field(0.4, ge=0, le=1, description="Share of the steps that fall, if stable.")
    final_fraction: float = Field(0.1, ge=0, le=1, description="Learning rate at the end over its peak.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    beta2: float = Field(0.95, gt=0, lt=1, description="Adam's decay of the second moment.")
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
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


@dataclass(frozen=True)
class Trained:
    """What a training made: the model, and what it recorded on the way."""

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
    mixture = plan(config, context.seed, streams.source_tokens)
    held_out = held_out_text.read(inputs.maybe("benchmarks"), tokenizer, config.held_out_bytes_per_source)

    from ..model import loss, network
    from ..model.checkpoint import Checkpoints
    from ..model.fit import NonFiniteLoss, fit
    from ..model.goodput import Goodput
    from ..model.optimizer import learning_rate_schedule, make_optimizer
    from ..model.preemption import Preempted, StopRequest

    longest = max(phase.sequence_length_tokens for phase in config.phases)
    shape = config.model.model_config_for(streams.vocab_size, longest)
    phases = Schedule(mixture)
    total_tokens = phases.tokens(mixture.total_steps)
    context.log.info(
        "%d parameters, %d steps, %d tokens", shape.parameter_count(), mixture.total_steps, total_tokens
    )
    goodput = Goodput()
    on_log = live(context, mixture.total_steps, phases, goodput)

    def on_evaluation(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            context.metric(name, value, step)

    schedule = learning_rate_schedule(
        [
            (end, phase.learning_rate or config.learning_rate)
            for end, phase in zip(phases.ends, config.phases, strict=True)
        ],
        total_steps=mixture.total_steps,
        warmup_steps=config.warmup_steps,
        decay=config.decay,
        decay_fraction=config.decay_fraction,
        final_fraction=config.final_fraction,
    )
    optimizer = make_optimizer(
        schedule, weight_decay=config.weight_decay, beta2=config.beta2, clip_norm=config.clip_norm
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
                loss.next_token_loss,
                lambda step: read_batch(streams, mixture, step),
                mixture.total_steps,
                checkpoints=checkpoints,
                checkpoint_every_steps=config.checkpoint_every_steps,
                log_every_steps=config.log_every_steps,
                on_log=on_log,
                evaluation=held_out_text.evaluation(held_out, longest, config.evaluate_every_steps),
                on_evaluation=on_evaluation,
                on_non_finite=config.on_non_finite,
                most_skipped_steps=config.max_skipped_steps,
                digest_every_steps=config.digest_every_steps,
                until_steps=until_steps,
                stop=stop,
                notice=context.log.warning,
                goodput=goodput,
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
    return Trained(shape, decoder, streams, mixture, history)


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


def plan(config: PretrainConfig, seed: int, source_tokens: Mapping[str, int]) -> Mixture:
    """The mixture of the phases.

    Raises:
        ComponentError: Phases, sources and token counts do not fit each other.
    """
    from ..data.mixture import Mixture, Phase

    phases = [
        Phase(phase.until_tokens, phase.sequence_length_tokens, phase.weights) for phase in config.phases
    ]
    try:
        mixture = Mixture(seed, config.batch_size, phases, source_tokens)
    except ValueError as error:
        raise ComponentError(f"pretrain: {error}; change phases or what is tokenized") from error
    for source, times in sorted(mixture.epochs().items()):
        if times > config.max_epochs:
            raise ComponentError(
                f"pretrain: the phases read {source!r} ({source_tokens[source]} tokens) {times:.1f} times, expected "
                f"at most max_epochs = {config.max_epochs:g}; lower its weight or until_tokens, or add text"
            )
    return mixture


class Schedule:
    """Which steps and how many tokens the phases of a mixture have.

    Attributes:
        ends: First step after each phase.
    """

    def __init__(self, mixture: Mixture) -> None:
        self._step_tokens = [mixture.batch_size * phase.sequence_length_tokens for phase in mixture.phases]
        steps = range(mixture.total_steps)
        self.ends = [
            bisect.bisect_right(steps, index, key=mixture.phase_of) for index in range(len(mixture.phases))
        ]

    def phase_tokens(self, done_steps: int) -> list[int]:
        """Training tokens of each phase in the first ``done_steps`` steps."""
        starts = [0, *self.ends[:-1]]
        return [
            max(min(done_steps, end) - start, 0) * tokens
            for start, end, tokens in zip(starts, self.ends, self._step_tokens, strict=True)
        ]

    def tokens(self, done_steps: int) -> int:
        """Training tokens in the first ``done_steps`` steps."""
        return sum(self.phase_tokens(done_steps))


def read_batch(streams: TokenStreams, mixture: Mixture, step: int) -> dict[str, np.ndarray]:
    """The rows of a step: ``tokens`` int32 [B, T+1]."""
    import numpy as np

    rows = [streams.read(*span) for span in mixture.locate(step)]
    return {"tokens": np.stack(rows).astype(np.int32)}


def digests(trained: Trained, every_steps: int, until_steps: int | None = None) -> list[step_digests.Record]:
    """The digests of a training's steps, or of the first ``until_steps``."""
    return step_digests.records(
        trained.history,
        lambda step: read_batch(trained.streams, trained.mixture, step),
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
