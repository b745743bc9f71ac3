"""The replay command: its range of steps and what it prints."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from millrace.components.training.digests import Difference
from millrace.pipelines.cli import app, replaying
from millrace.pipelines.stages.replay import Replay

SAME = Replay(
    run="r1",
    stage="pretrain",
    equal=True,
    first_step=4,
    end_step=9,
    begun_with=0,
    difference=None,
    versions={},
    code=(),
)


def shown(replay: Replay) -> str:
    out = io.StringIO()
    replaying._view(Console(file=out, width=60, highlight=False), replay)
    return out.getvalue()


@pytest.mark.parametrize("words", ["9:5", "5:5", "5", "a:b", "-3:4"])
def test_a_wrong_range_is_a_usage_error(words: str) -> None:
    assert CliRunner().invoke(app, ["replay", "pretrain", f"--steps={words}"]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "steps"), [(":", (0, None)), ("3:", (3, None)), (":7", (0, 7)), ("3:7", (3, 7))]
)
def test_either_end_of_a_range_may_be_left_out(words: str, steps: tuple[int, int | None]) -> None:
    assert replaying._range(words) == steps


def test_equal_steps_are_one_sentence() -> None:
    assert shown(SAME) == "pretrain of r1: steps 4 to 8\nall are the same, bit for bit\n"


def test_a_difference_is_shown_with_its_step_and_what_else_is_not_the_same() -> None:
    found = Difference(
        step=6,
        fields=("loss",),
        recorded={"loss": "a"},
        replayed={"loss": "b"},
        parameters_equal_after_step=4,
    )
    text = shown(
        replace(
            SAME,
            equal=False,
            begun_with=2,
            difference=found,
            versions={"jax": ("1", "2")},
            code=("f changed",),
        )
    )
    assert "begun with the kept state of step 2" in text
    assert "step 6 is the first that differs; the parameters were equal after step 4" in text
    assert "  loss: recorded a, replayed b\n" in text
    assert "jax 1 is now 2" in text
    assert "not the same any more: f changed" in text
