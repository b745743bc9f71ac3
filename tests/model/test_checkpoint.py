"""Checkpoints give back what was saved, and a process killed while saving leaves them whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
from millrace.model.checkpoint import Checkpoints

SAVE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from millrace.model.checkpoint import Checkpoints

with Checkpoints(Path(sys.argv[1])) as checkpoints:
    found = checkpoints.restore_latest({"w": np.zeros((256, 256), np.float32), "step": np.zeros((), np.int32)})
    step = found[0] if found else 0
    if found:
        assert found[1]["step"] == step and (np.asarray(found[1]["w"]) == step).all(), found
    print(step, flush=True)
    while True:
        step += 1
        checkpoints.save(step, {"w": np.full((256, 256), step, np.float32), "step": np.asarray(step, np.int32)})
        print(step, flush=True)
"""


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
        step, restored = checkpoints.restore_latest(state)
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
        step, state = checkpoints.restore_latest(
            {"w": np.zeros((256, 256), np.float32), "step": np.zeros((), np.int32)}
        )
    assert step >= completed > 0
    assert (np.asarray(state["w"]) == step).all()
