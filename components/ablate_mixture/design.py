"""The mixtures that ``ablate_mixture`` tries, and the bounds of its proposals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from millrace.components.contract import ComponentError
from millrace.data.mixing import bounds as mixing
from millrace.data.mixing.bounds import PARTS, Bounds, Floats

from .config import AblateConfig

DRAWS = 8  # for each sample, because many may round to one corner
MARGIN_ROWS = 2  # what exact shares may be off by, see ``data/training/mixture.py``


@dataclass(frozen=True)
class Design:
    """The mixtures to try.

    Attributes:
        bounds: Of the sources that any mixture may have.
        given: Names and weights, the prior first, no weights twice.
    """

    bounds: Bounds
    given: tuple[tuple[str, Floats], ...]


def design(config: AblateConfig, source_tokens: Mapping[str, int], seed: int) -> Design:
    """The mixtures that a configuration asks for, over the sources of the tokens.

    Raises:
        ComponentError: A source is unknown or too short, or weights lie outside the bounds.

    References:
        Liu et al. 2024, RegMix, arXiv 2407.01492, section 3.1 (Dirichlet around the tokens' distribution; its published
        code takes the square root of that first).
    """
    named = [source_tokens if config.prior is None else config.prior, *config.candidates]
    if unknown := sorted(set().union(*named) - source_tokens.keys()):
        raise ComponentError(
            f"ablate_mixture: got weights for {', '.join(map(repr, unknown))}, expected sources of the tokens: "
            f"{', '.join(sorted(source_tokens))}"
        )
    sources = {name for weights in named for name, weight in weights.items() if weight > 0}
    tokens = {name: source_tokens[name] for name in sorted(sources)}
    try:
        bounds = mixing.within(
            {name: _most(config, name, count) for name, count in tokens.items()}, config.min_weight
        )
    except ValueError as error:
        raise ComponentError(
            f"ablate_mixture: {error}; the largest weights follow from max_epochs = {config.max_epochs:g} passes over "
            f"each source in {_target(config)} tokens: raise it, lower tokens, target_tokens or min_weight, or add text"
        ) from error
    if config.prior is None:
        prior = bounds.rounded(bounds.scaled(bounds.array(tokens)[None])[0])
    else:
        prior = _checked(bounds, config, "prior", config.prior)
    given = [("prior", prior)]
    for place, candidate in enumerate(config.candidates):
        given.append((f"candidate {place + 1}", _checked(bounds, config, f"candidates[{place}]", candidate)))
    # Draws around the prior itself would hardly hold a source of few tokens, and small sources often deserve more.
    flattened = prior ** (1 / config.temperature)
    mean = flattened / flattened.sum()
    drawn = mixing.draw(bounds, mean, config.concentration, DRAWS * config.samples, [seed, 0])
    once: dict[tuple[float, ...], tuple[str, Floats]] = {}
    for name, weights in given:
        once.setdefault(tuple(weights), (name, weights))
    wanted, count = len(once) + config.samples, 0
    for mix in drawn:
        if len(once) < wanted and tuple(mix) not in once:
            count += 1
            once[tuple(mix)] = (f"sample {count}", mix)
    return Design(bounds, tuple(once.values()))


def _target(config: AblateConfig) -> int:
    return max(config.tokens, config.target_tokens or 0)


def _most(config: AblateConfig, source: str, tokens: int) -> float:
    """The largest weight of a source that reads it at most ``max_epochs`` times."""
    windows = (tokens - 1) // config.sequence_length_tokens
    if windows < 1:
        raise ComponentError(
            f"ablate_mixture: got {tokens} tokens of {source!r}, expected more than the {config.sequence_length_tokens} "
            "of a row; lower sequence_length_tokens, or leave the source out with prior"
        )
    step_tokens = config.batch_size * config.sequence_length_tokens
    rows = math.ceil(_target(config) / step_tokens) * config.batch_size
    return max(config.max_epochs * windows - MARGIN_ROWS, 0) / rows


def _checked(bounds: Bounds, config: AblateConfig, name: str, weights: Mapping[str, float]) -> Floats:
    """Given weights as an array inside the bounds."""
    array = bounds.array(weights)
    for source, weight, least, most in zip(bounds.sources, array, bounds.least, bounds.most, strict=True):
        if not least - 1 < weight * PARTS < most + 1:
            raise ComponentError(
                f"ablate_mixture: {name} gives {source!r} {weight:.4g}, expected {least / PARTS:g} (min_weight) to "
                f"{most / PARTS:g} (max_epochs = {config.max_epochs:g} passes over its text in {_target(config)} tokens)"
            )
    return bounds.rounded(array)
