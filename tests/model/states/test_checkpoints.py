"""Checkpoints give back what was saved, name what is damaged, and survive a kill at any instant of a save."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from millrace.model.states import integrity, state_file
from millrace.model.states.checkpoints import Checkpoints

SAVE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from millrace.model.states.checkpoints import Checkpoints

with Checkpoints(Path(sys.argv[1])) as checkpoints:
    found = checkpoints.restore_latest({"w": np.zeros((256, 256), np.float32), "step": np.zeros((), np.int32)})
    step = found[0] if found else 0
    if found:
        assert found[1]["step"] == step and (np.asarray(found[1]["w"]) == step).all(), found
    print(step, flush=True)
    while True:
        step += 1
        checkpoints.save(step, {"w": np.full((256, 256), step, np.float32), "step": np.asarray(step, np.int32)})
        checkpoints.wait()
        print(step, flush=True)
"""


def newest(checkpoints: Checkpoints, like: Any) -> tuple[int, Any]:
    """The newest checkpoint, of which there is one."""
    found = checkpoints.restore_latest(like)
    assert found is not None
    return found


def test_a_state_comes_back_exactly(tmp_path: Path) -> None:
    """Parameters, Optax's nested state, integers and host arrays have the same structure, dtypes and bits."""
    params = {"w": jnp.linspace(0, 1, 12, dtype=jnp.float32).reshape(3, 4)}
    state = {
        "params": params,
        "optimizer": optax.adamw(1e-3).init(params),
        "step": jnp.int32(7),
        "host": np.asarray([0.1, np.nan]),
    }
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.restore_latest(state) is None
        for step in (5, 7, 9):
            checkpoints.save(step, {**state, "step": jnp.int32(step)})
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        step, restored = newest(checkpoints, state)
    assert (step, int(restored["step"])) == (9, 9)
    assert type(restored["optimizer"][0]) is type(state["optimizer"][0])
    assert np.array_equal(restored["params"]["w"], params["w"])
    assert np.asarray(restored["host"]).dtype == np.float64
    assert np.array_equal(restored["host"], state["host"], equal_nan=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["7", "9"]


def test_a_killed_save_leaves_the_one_before(tmp_path: Path) -> None:
    """Killed at random moments, the next start finds a whole state not older than the last completed save."""
    chance, completed = random.Random(0), 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path / "checkpoints")],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            found = int(process.stdout.readline())
            assert found >= completed
            process.stdout.readline()
            time.sleep(chance.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            completed = max([found, *map(int, process.stdout.read().split())])
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        step, state = newest(
            checkpoints, {"w": np.zeros((256, 256), np.float32), "step": np.zeros((), np.int32)}
        )
    assert step >= completed > 0
    assert (np.asarray(state["w"]) == step).all()


STATE = {"w": np.arange(300, dtype=np.float32), "step": np.asarray(0, np.int32)}


def state_of(step: int) -> dict[str, np.ndarray]:
    return {"w": STATE["w"] + step, "step": np.asarray(step, np.int32)}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of steps 3 and 6, which tests copy."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (3, 6):
            checkpoints.save(step, state_of(step))
    return folder


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, Path.unlink])
def test_damage_to_any_file_is_named_and_the_checkpoint_before_is_used(
    saved: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Every file of the newest checkpoint in turn, its integrity file too."""
    files = [path.relative_to(saved) for path in sorted((saved / "6").rglob("*")) if path.is_file()]
    assert [file.name for file in files] == [integrity.FILE, state_file.FILE]
    for number, file in enumerate(files):
        lines: list[str] = []
        copy = tmp_path / str(number)
        shutil.copytree(saved, copy)
        size = (copy / file).stat().st_size
        if not size and damage is not Path.unlink:
            continue
        damage(copy / file)
        with Checkpoints(copy, log=lines.append) as checkpoints:
            step, state = newest(checkpoints, STATE)
            assert (step, int(state["step"])) == (3, 3)
            assert f"step 6 is damaged: {file.relative_to('6')}: " in lines[0]
            assert lines[1:] == ["going on from the checkpoint of step 3 instead of 6"]
            checkpoints.save(6, state_of(6))
            assert checkpoints.steps() == [3, 6]


def test_when_all_are_damaged_the_log_says_that_training_starts_afresh(saved: Path, tmp_path: Path) -> None:
    """Nothing is restored, and later saves of the same steps work."""
    lines: list[str] = []
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    for step in ("3", "6"):
        flip_a_byte(copy / step / integrity.FILE)
    with Checkpoints(copy, log=lines.append) as checkpoints:
        assert checkpoints.restore_latest(STATE) is None
        assert "no checkpoint is whole (damaged: 6, 3)" in lines[-1]
        checkpoints.save(3, state_of(3))
        assert newest(checkpoints, STATE)[0] == 3


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Two of many."""
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(5, 50, 5):
            checkpoints.save(step, state_of(step))
        assert checkpoints.steps() == [40, 45]


def test_a_save_keeps_the_state_of_its_moment(tmp_path: Path) -> None:
    """Buffers that are donated and overwritten while the checkpoint is being written do not change it."""
    increase = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = jax.tree.map(jnp.asarray, state_of(0))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        for _ in range(100):
            state = increase(state)
        _, restored = newest(checkpoints, STATE)
    assert np.array_equal(restored["w"], STATE["w"])


def test_a_save_that_fails_is_told_at_the_next(tmp_path: Path) -> None:
    """An error of the writing thread is not lost."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
        checkpoints.save(1, state_of(1))
        with pytest.raises(Exception, match="1"):
            checkpoints.wait()
