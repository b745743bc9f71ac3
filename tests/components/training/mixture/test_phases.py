"""Phases that no training could read are refused by the check, and what is given is what is planned."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.training.mixture.phases import MixtureConfig
from millrace.components.training.mixture.reading import plan

SOURCES = {"a": 10_000, "b": 10_000}


def phase(until_tokens: int | None = 4_096, **settings: Any) -> dict[str, Any]:
    return {"until_tokens": until_tokens, "weights": {"a": 1}} | settings


def config_of(*phases: dict[str, Any], **settings: Any) -> MixtureConfig:
    return MixtureConfig.model_validate({"phases": phases} | settings)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        (
            [phase(200), phase(100)],
            "phase 1 until 100 tokens, expected more than the 200 of the phase before",
        ),
        ([phase(100), phase(300), phase(300)], "phase 2 until 300 tokens"),
        ([phase(weights={"a": 0, "b": 0})], "expected some above 0, none below"),
        ([phase(weights={"a": 2, "b": -1})], r"got weights \{'a': 2.0, 'b': -1.0\}"),
        ([phase(weights={})], "at least 1 item"),
        ([phase(None)], "exactly one of them"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: list[dict[str, Any]], message: str) -> None:
    """Without the tokens, so before anything runs."""
    with pytest.raises(ValidationError, match=message):
        config_of(*phases)


def test_every_phase_has_its_rows_lengths_and_weights() -> None:
    """A phase's own value wins over the whole training's; the plan of steps counts both."""
    short = phase(8 * 128 * 3, sequence_length_tokens=128)
    wide = phase(8 * 128 * 3 + 2 * 256 * 5, weights={"a": 1, "b": 3}, batch_size=2)
    config = config_of(short, wide, batch_size=8)
    mixture = plan(config, 0, SOURCES, 64)
    assert (config.batch_sizes(), config.longest_row_tokens()) == ([8, 2], 256)
    assert (mixture.ends, mixture.step_tokens) == ((3, 8), (8 * 128, 2 * 256))
    assert {source for source, _, _ in mixture.locate(0)} == {"a"}
    rows = [source for step in range(3, 8) for source, _, _ in mixture.locate(step)]
    assert 7 <= rows.count("b") <= 8


def test_proposed_weights_fill_only_the_phases_that_ask() -> None:
    """Numbers stay; a phase that still asks has none."""
    asked = config_of(phase(100, weights="proposed"), phase(200))
    filled = asked.with_proposed({"b": 2.0})
    assert [one.numbers() for one in filled.phases] == [{"b": 2.0}, {"a": 1.0}]
    with pytest.raises(ValueError, match="expected them to be filled in from a mixture"):
        asked.phases[0].numbers()
