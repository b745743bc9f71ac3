"""A replay begins with the newest kept state that is not behind its steps, and says why it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import pytest

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.training import replay
from millrace.components.training.config import PretrainConfig
from millrace.model.states import kept_states, state_file

RECORDED = [{"first_step": 0, "step": 9, "devices": jax.device_count()}]


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """Kept states of the steps 4 and 8."""
    for step in (4, 8):
        folder = tmp_path / "kept" / kept_states.folder_name(step)
        folder.mkdir(parents=True)
        state_file.write(folder, state_file.host_copy({"step": jnp.int32(step)}))
    return tmp_path / "kept"


@pytest.mark.parametrize(("first", "begun"), [(0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (99, 8)])
def test_the_newest_state_up_to_the_first_step_is_taken(
    states: Path, tmp_path: Path, first: int, begun: int
) -> None:
    folder = tmp_path / "work" / "states"
    assert replay._begin(states, first, folder) == begun
    found = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert found == ([kept_states.folder_name(begun)] if begun else [])


def test_a_damaged_state_is_named_and_not_used(states: Path, tmp_path: Path) -> None:
    file = states / kept_states.folder_name(8) / state_file.FILE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ComponentError, match=r"the kept state of step 8 is damaged: .*restore the store"):
        replay._begin(states, 9, tmp_path / "work" / "states")
    assert replay._begin(states, 7, tmp_path / "other" / "states") == 4


@pytest.mark.parametrize(
    ("recorded", "steps", "problem"),
    [
        (RECORDED, (10, None), r"got steps 10:, expected some of the recorded \(steps from 0 to 9\)"),
        (RECORDED, (5, 5), r"got steps 5:5, expected some of the recorded"),
        ([], (0, 3), r"got steps 0:3, .* \(none: digest_every_steps is 0\)"),
        ([{**RECORDED[0], "devices": 64}], (0, None), r"got a training on 64 devices and \d+ here"),
    ],
)
def test_steps_that_cannot_be_compared_are_refused(
    recorded: list[dict[str, Any]], steps: tuple[int, int | None], problem: str
) -> None:
    nothing = cast(Any, None)
    with pytest.raises(ComponentError, match=problem):
        replay.replay(
            "pretrain", cast(Context, nothing), cast(PretrainConfig, nothing), Inputs({}), recorded, *steps
        )
