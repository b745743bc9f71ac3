"""Proposed weights fill the phases that ask for them, and need a mixture of just the sources there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millrace.components.contract import Artifact, ComponentError
from millrace.components.training.mixture import proposed_weights
from millrace.components.training.mixture.phases import MixtureConfig

ASKING = MixtureConfig.model_validate(
    {"phases": [{"until_tokens": 10, "weights": {"a": 1}}, {"until_tokens": 20, "weights": "proposed"}]}
)
NUMBERS = MixtureConfig.model_validate({"phases": [{"until_tokens": 10, "weights": {"a": 1}}]})


def proposing(folder: Path, weights: dict[str, float]) -> Artifact:
    (folder / proposed_weights.FILE).write_text(json.dumps({"weights": weights, "run": "prior"}))
    return Artifact(folder, "mixture", "", "ablate")


def test_phases_that_ask_get_the_proposal(tmp_path: Path) -> None:
    """The others keep their own; without a mixture and without asking nothing changes."""
    filled = proposed_weights.resolve(
        "pretrain", ASKING, proposing(tmp_path, {"a": 0.25, "b": 0.75}), ["a", "b"]
    )
    assert [phase.weights for phase in filled.phases] == [{"a": 1.0}, {"a": 0.25, "b": 0.75}]
    assert proposed_weights.resolve("pretrain", NUMBERS, None, ["a"]) is NUMBERS


def test_asking_and_a_mixture_need_each_other(tmp_path: Path) -> None:
    """The phase is named, and which of both is missing."""
    assert not list(proposed_weights.misfits(ASKING, ["tokens", "mixture"]))
    assert not list(proposed_weights.misfits(NUMBERS, ["tokens"]))
    with pytest.raises(
        ComponentError, match="pretrain: got weights: proposed in phase 1 and no input mixture"
    ):
        proposed_weights.resolve("pretrain", ASKING, None, ["a"])
    with pytest.raises(ComponentError, match="pretrain: got an input mixture and numbers"):
        proposed_weights.resolve("pretrain", NUMBERS, proposing(tmp_path, {"a": 1}), ["a"])


def test_a_mixture_of_other_sources_is_refused_by_name(tmp_path: Path) -> None:
    """The error names surplus and missing sources."""
    mixture = proposing(tmp_path, {"useful": 0.5, "code": 0.25, "prose": 0.25})
    with pytest.raises(ComponentError, match=r"of ablate .*unknown: 'prose'; missing: 'noise'"):
        proposed_weights.resolve("pretrain", ASKING, mixture, ["code", "noise", "useful"])
