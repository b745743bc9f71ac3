"""Weights that ``ablate_mixture`` proposes, put into the phases that ask for them with ``weights: proposed``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from millrace.components.contract import Artifact, ComponentError

from .phases import MixtureConfig

FILE = "weights.json"
PORT = "mixture"

Settings = TypeVar("Settings", bound=MixtureConfig)


def misfits(config: MixtureConfig, ports: Collection[str]) -> Iterator[str]:
    """Mistakes of phases and inputs taken together: proposed weights need the input mixture, and the input needs them."""
    wanted = [str(place) for place, phase in enumerate(config.phases) if phase.weights == "proposed"]
    if wanted and PORT not in ports:
        yield (
            f"got weights: proposed in phase {', '.join(wanted)} and no input {PORT}, expected the output {PORT} of a stage "
            "that uses ablate_mixture; add the input, or give weights as numbers"
        )
    if PORT in ports and not wanted:
        yield (
            f"got an input {PORT} and numbers as weights in all phases, expected a phase with weights: proposed; give "
            "one, or leave the input out"
        )


def resolve(component: str, config: Settings, mixture: Artifact | None, sources: Collection[str]) -> Settings:
    """The configuration with numbers in all phases.

    Args:
        component: Name of the configured component, for messages.
        config: The configuration of a spec.
        mixture: The artifact that proposes weights.
        sources: Those of the tokens that are trained on.

    Raises:
        ComponentError: One of phases and mixture asks for the other, or it was made for other sources.
    """
    for message in misfits(config, [PORT] if mixture else []):
        raise ComponentError(f"{component}: {message}")
    if mixture is None:
        return config
    weights = parse((mixture.path / FILE).read_text(encoding="utf-8"))
    unknown, missing = sorted(weights.keys() - set(sources)), sorted(set(sources) - weights.keys())
    if unknown or missing:
        raise ComponentError(
            f"{component}: the mixture of {mixture.stage} has weights for {_listed(weights)}, expected weights for the sources "
            f"of the tokens, {_listed(sources)} (unknown: {_listed(unknown)}; missing: {_listed(missing)}); give both "
            "stages the same tokens"
        )
    return config.with_proposed(weights)


def parse(text: str) -> Mapping[str, float]:
    """The proposed weights of ``weights.json``, one for each source of the tokens."""
    weights: dict[str, float] = json.loads(text)["weights"]
    return weights


def _listed(names: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "none"
