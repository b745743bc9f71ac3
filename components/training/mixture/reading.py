"""The order in which stages read token streams: a plan of mixtures, and the rows of each of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from millrace.components.artifacts import check_vocabulary
from millrace.components.contract import ComponentError, Inputs
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training import packing
from millrace.data.training.mixture import Mixture, Phase
from millrace.data.training.streams import TokenStreams

from . import proposed_weights
from .phases import MixtureConfig

Settings = TypeVar("Settings", bound=MixtureConfig)


@dataclass(frozen=True)
class Reading:
    """The plan of a stage's reading.

    Attributes:
        streams: The token streams.
        tokenizer: The tokenizer that made them.
        mixture: The order.
    """

    streams: TokenStreams
    tokenizer: Tokenizer
    mixture: Mixture


def open_reading(component: str, seed: int, config: Settings, inputs: Inputs) -> tuple[Settings, Reading]:
    """Opens the streams and their tokenizer, fills in proposed weights, and plans the order.

    Raises:
        ComponentError: They do not fit each other or the phases.
    """
    streams = TokenStreams.load(inputs.one("tokens").path)
    tokenizer = Tokenizer.load(inputs.one("tokenizer").path)
    check_vocabulary(component, {"the tokens": streams.vocab_size, "the tokenizer": tokenizer.vocab_size})
    proposal = inputs.maybe(proposed_weights.PORT)
    config = proposed_weights.resolve(component, config, proposal, streams.sources)
    mixture = plan(config, seed, streams.source_tokens, streams.vocab_size, component)
    return config, Reading(streams, tokenizer, mixture)


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
    spans = mixture.locate(step)
    if rows is not None:
        spans = [spans[row] for row in rows]
    batch = {"tokens": np.stack([streams.read(*span) for span in spans]).astype(np.int32)}
    if config.packing == "documents":
        parts = [packing.segments(streams.starts(name), first, length) for name, first, length in spans]
        batch["segments"], batch["positions"] = (np.stack(part) for part in zip(*parts, strict=True))
    return batch
