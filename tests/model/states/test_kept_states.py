"""Kept states are the same bytes for the same state, and a training goes on from one as if it had never stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from millrace.model.states import integrity
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.states.kept_states import KeptStates, folder_name, steps
from millrace.model.states.state_file import FILE as STATE_FILE
from millrace.model.states.state_file import OtherTraining
from millrace.model.training.hooks import Digests, Evaluation, Log
from millrace.model.training.loop import History, Supervision, fit
from millrace.model.training.preemption import Preempted
from millrace.model.training.step import Objective

TRUE_SLOPES = np.asarray([1.0, -2.0, 0.5], np.float32)


@pytest.fixture(autouse=True)
def strict_promotion() -> None:
    """Not here: Optax raises floats to the power of integer counts."""


def state_of(step: int) -> dict[str, Any]:
    params = {"w": jnp.linspace(0, step, 12, dtype=jnp.float32).reshape(3, 4)}
    return {
        "train": {"params": params, "optimizer": optax.adamw(1e-3).init(params), "step": jnp.int32(step)},
        "skips": jnp.arange(5) == step,
        "sums": jnp.arange(4, dtype=jnp.uint32).reshape(2, 2),
        "measured": {"news": np.asarray([0.1, np.nan])},
    }


def test_a_state_comes_back_exactly_and_is_the_same_bytes_again(tmp_path: Path) -> None:
    """Nested states of Optax, scalars, truth values and host arrays, whole and in part."""
    for name in ("one", "other"):
        KeptStates(tmp_path / name).save(7, state_of(7))
    for file in (STATE_FILE, integrity.FILE):
        one, other = (tmp_path / name / folder_name(7) / file for name in ("one", "other"))
        assert one.read_bytes() == other.read_bytes()
    states = KeptStates(tmp_path / "one")
    assert states.newest() == 7
    restored, expected = states.restore(7, state_of(0)), state_of(7)
    assert jax.tree.map(jnp.shape, restored) == jax.tree.map(jnp.shape, expected)
    for got, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert np.array_equal(got, wanted, equal_nan=got.dtype == np.float64)
    assert isinstance(restored["measured"]["news"], np.ndarray)
    assert int(states.restore(7, {"train": {"step": jnp.int32(0)}})["train"]["step"]) == 7


def test_damage_is_named_and_the_state_before_is_used(tmp_path: Path) -> None:
    """A flipped byte, and a state whose writing was cut off."""
    lines: list[str] = []
    states = KeptStates(tmp_path, log=lines.append)
    assert states.newest() is None
    for step in (10, 20, 30):
        states.save(step, state_of(step))
    (tmp_path / folder_name(30) / integrity.FILE).unlink()
    file = tmp_path / folder_name(20) / STATE_FILE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert states.newest() == 10
    assert [line.partition(" is damaged: ")[0] for line in lines] == [
        "the kept state of step 30",
        "the kept state of step 20",
    ]
    states.save(20, state_of(20))
    assert states.newest() == 20
    assert steps(tmp_path) == [10, 20, 30]


@pytest.mark.parametrize(
    "template", [{"more": jnp.zeros(2)}, {"sums": jnp.zeros((2, 3), jnp.uint32)}, {"sums": jnp.zeros((2, 2))}]
)
def test_a_state_of_another_training_is_refused(tmp_path: Path, template: Any) -> None:
    """Another name, another shape, another type."""
    states = KeptStates(tmp_path)
    states.save(7, state_of(7))
    with pytest.raises(OtherTraining, match=r"expected .* \[2"):
        states.restore(7, template)


class Line(nnx.Module):
    """A linear model."""

    def __init__(self) -> None:
        self.slopes = nnx.Param(jnp.zeros((3,)))


class Killed(BaseException):
    """Stands for a kill."""


def train(
    line: Line,
    folder: Path,
    kill_at: int = -1,
    asked: list[int] | None = None,
    every: int = 15,
    stop: Callable[[], bool] | None = None,
) -> History:
    """Sixty steps with a checkpoint every forty."""

    def batches(step: int) -> dict[str, np.ndarray]:
        if step == kill_at:
            raise Killed
        if asked is not None:
            asked.append(step)
        x = np.random.default_rng(step).normal(size=(16, 3)).astype(np.float32)
        return {"x": x, "y": x @ TRUE_SLOPES}

    def loss_of(line: Line, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        return jnp.mean((batch["x"] @ line.slopes[...] - batch["y"]) ** 2), {}

    evaluation = Evaluation(
        ["distance"], lambda line: [float(np.abs(line.slopes[...]).max())], every_steps=25
    )
    with Checkpoints(folder / "checkpoints", 40) as checkpoints:
        return fit(
            line,
            Objective(loss_of, optax.adam(0.1)),
            batches,
            60,
            stores=[checkpoints, KeptStates(folder / "states", every)],
            hooks=[Digests(7), Log(10), evaluation],
            supervision=Supervision(stop),
        )


def same_states(one: Path, other: Path) -> list[int]:
    """Steps of the states that two trainings kept, which have to be the same in every byte."""
    kept = [folder / "states" for folder in (one, other)]
    assert steps(kept[0]) == steps(kept[1])
    for step in steps(kept[0]):
        first, second = (folder / folder_name(step) / STATE_FILE for folder in kept)
        assert first.read_bytes() == second.read_bytes()
    return steps(kept[0])


@pytest.mark.parametrize(("kill_at", "goes_on_at"), [(14, 0), (38, 30), (44, 40), (59, 45)])
def test_a_training_goes_on_from_the_newest_of_both(tmp_path: Path, kill_at: int, goes_on_at: int) -> None:
    """Weights, curves, evaluations, checksums and the kept states themselves are the undisturbed training's."""
    undisturbed, resumed, asked = Line(), Line(), list[int]()
    expected = train(undisturbed, tmp_path / "expected")
    with pytest.raises(Killed):
        train(Line(), tmp_path / "work", kill_at)
    history = train(resumed, tmp_path / "work", asked=asked)
    assert asked[1:] == list(range(goes_on_at, 60))  # the first tells which metrics there are
    assert np.array_equal(resumed.slopes[...], undisturbed.slopes[...])
    for name, curve in expected.curves.items():
        assert np.array_equal(history.curves[name], curve)
    assert np.array_equal(history.evaluations["distance"], expected.evaluations["distance"])
    np.testing.assert_array_equal(history.checksums, expected.checksums, strict=True)
    assert same_states(tmp_path / "expected", tmp_path / "work") == [15, 30, 45, 60]


def test_a_state_that_a_kill_left_out_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint of a step is sealed, and the process dies before the state of that step is."""
    train(Line(), tmp_path / "expected", every=20)
    save = KeptStates.save

    def killed(self: KeptStates, step: int, state: Any) -> None:
        if step == 40:
            raise Killed
        save(self, step, state)

    monkeypatch.setattr(KeptStates, "save", killed)
    with pytest.raises(Killed):
        train(Line(), tmp_path / "work", every=20)
    monkeypatch.undo()
    asked: list[int] = []
    train(Line(), tmp_path / "work", asked=asked, every=20)
    assert asked[1:] == list(range(40, 60))
    assert same_states(tmp_path / "expected", tmp_path / "work") == [20, 40, 60]


def test_a_state_at_the_step_of_the_end_that_was_asked_for_is_kept_with_its_measurement(
    tmp_path: Path,
) -> None:
    """The end leaves the measurement of step 25 to the next process, and so the state."""
    train(Line(), tmp_path / "expected", every=25)
    asked = iter(range(60))
    with pytest.raises(Preempted):
        train(Line(), tmp_path / "work", every=25, stop=lambda: next(asked) == 25)
    assert steps(tmp_path / "work" / "states") == []
    train(Line(), tmp_path / "work", every=25)
    assert same_states(tmp_path / "expected", tmp_path / "work") == [25, 50]


SPREAD = """
import json, sys
from pathlib import Path
import numpy as np
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.training.loop import fit
from millrace.model.training.step import Objective
from millrace.model.states.kept_states import KeptStates
from millrace.model.training.optimizer import make_optimizer
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.devices.sharding import MeshShape

def batch(step):
    asked.append(step)
    return {"tokens": np.random.default_rng(step).integers(0, 256, (8, 33)).astype(np.int32)}

folder, found = Path(sys.argv[1]), []
for axes, every in (({"fsdp": 8}, 3), ({"fsdp": 4, "tensor": 2}, 0), (None, 0)):
    asked = []
    decoder = network.create(ModelConfig(256, 2, 32, 4, 2, 8, 64, 32), 0)
    mesh = MeshShape(**axes).build() if axes else None
    states = KeptStates(folder, every)
    history = fit(decoder, Objective(NextTokenLoss(), make_optimizer(1e-2)), batch, 5, stores=[states], mesh=mesh)
    found.append({"steps": asked[1:], "losses": history.curves["loss"].tolist()})
print(json.dumps(found))
"""


def test_any_mesh_goes_on_from_a_state_of_another(tmp_path: Path) -> None:
    """Written by eight devices, read by eight laid out otherwise and by one."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SPREAD, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | flags)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *others = json.loads(done.stdout.splitlines()[-1])
    assert first["steps"] == [0, 1, 2, 3, 4]
    for other in others:
        assert other["steps"] == [3, 4]
        assert other["losses"] == pytest.approx(first["losses"], rel=1e-5)
