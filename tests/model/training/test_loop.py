"""Training reaches the optimum it should, resumes to the same bits, and does not go on from a broken loss."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from millrace.model.states.checkpoints import Checkpoints
from millrace.model.training.goodput import Goodput
from millrace.model.training.hooks import Digests, Evaluation, Hook, Log
from millrace.model.training.loop import History, Supervision, fit
from millrace.model.training.non_finite import NonFiniteLoss
from millrace.model.training.preemption import Preempted
from millrace.model.training.step import Batch, Objective

TRUE_SLOPES = np.asarray([1.0, -2.0, 0.5], np.float32)


@pytest.fixture(autouse=True)
def strict_promotion() -> None:
    """Not here: Optax raises floats to the power of integer counts."""


class Line(nnx.Module):
    """A linear model."""

    def __init__(self) -> None:
        self.slopes = nnx.Param(jnp.zeros((3,)))


def batch_of(step: int) -> dict[str, np.ndarray]:
    x = np.random.default_rng(step).normal(size=(16, 3)).astype(np.float32)
    return {"x": x, "y": x @ TRUE_SLOPES}


def loss_of(line: Line, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
    error = batch["x"] @ line.slopes[...] - batch["y"]
    return jnp.mean(error**2), {"largest_error": jnp.max(jnp.abs(error))}


def train(
    line: Line,
    steps: int = 60,
    folder: Path | None = None,
    batches: Callable[[int], Batch] = batch_of,
    *,
    hooks: Sequence[Hook] = (),
    tell: Callable[[int, Mapping[str, float]], None] | None = None,
    watched: Supervision | None = None,
    until_steps: int | None = None,
    **policy: Any,
) -> History:
    evaluation = Evaluation(
        ["distance"], lambda line: [float(np.abs(line.slopes[...] - TRUE_SLOPES).max())], every_steps=25
    )
    checkpoints = Checkpoints(folder, 10) if folder else None
    try:
        return fit(
            line,
            Objective(loss_of, optax.adam(0.1), **policy),
            batches,
            steps,
            stores=[checkpoints] if checkpoints else [],
            hooks=[*hooks, Log(10, tell), evaluation],
            supervision=watched,
            until_steps=until_steps,
        )
    finally:
        if checkpoints:
            checkpoints.close()


def test_it_finds_the_least_squares_solution() -> None:
    """The module is trained in place; curves hold every step and evaluations begin before the first."""
    line, logged = Line(), []
    history = train(line, 200, tell=lambda step, values: logged.append((step, values["loss"])))
    np.testing.assert_allclose(line.slopes[...], TRUE_SLOPES, atol=1e-2)
    assert {name: curve.shape for name, curve in history.curves.items()} == dict.fromkeys(
        ("loss", "gradient_norm", "largest_error"), (200,)
    )
    assert list(history.evaluation_steps) == [0, 25, 50, 75, 100, 125, 150, 175, 200]
    assert history.evaluations["distance"][0] == 2.0
    assert logged == [(step, history.curves["loss"][step - 1]) for step in range(10, 201, 10)]


class Wide(nnx.Module):
    """One weight of 4 MB."""

    def __init__(self) -> None:
        self.weight = nnx.Param(jnp.ones((1000, 1000)))


def test_a_device_holds_the_state_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and Adam's two moments of them; no first weights beside them, and nothing while a state is restored."""

    def held() -> int:
        gc.collect()
        return sum(array.size == 1_000_000 for array in jax.live_arrays())

    def run(until: int) -> tuple[list[int], list[int]]:
        training: list[int] = []
        restoring: list[int] = []
        restore = Checkpoints.restore

        def restored(self: Checkpoints, step: int, template: object) -> object:
            restoring.append(held())
            return restore(self, step, template)

        monkeypatch.setattr(Checkpoints, "restore", restored)
        checkpoints = Checkpoints(tmp_path / "work", 2)

        def loss(module: Wide, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            return jnp.mean((module.weight[...] - batch["y"]) ** 2), {}

        fit(
            Wide(),
            Objective(loss, optax.adam(0.1)),
            lambda step: {"y": np.zeros(1, np.float32)},
            4,
            stores=[checkpoints],
            hooks=[Log(1, lambda step, values: training.append(held()))],
            until_steps=until,
        )
        checkpoints.close()
        monkeypatch.undo()
        return training, restoring

    assert run(2) == ([3, 3], [])
    assert run(4) == ([3, 3], [0])


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("kill_at", [4, 10, 26, 59])
def test_a_resumed_training_is_the_undisturbed_one(tmp_path: Path, kill_at: int) -> None:
    """Weights, curves and evaluations are the same bits, whether it died before or after a checkpoint."""
    undisturbed, resumed = Line(), Line()
    expected = train(undisturbed)

    def dying(step: int) -> dict[str, np.ndarray]:
        if step == kill_at:
            raise Killed
        return batch_of(step)

    with pytest.raises(Killed):
        train(Line(), folder=tmp_path / "work", batches=dying)
    asked: list[int] = []
    history = train(resumed, folder=tmp_path / "work", batches=noting(asked))
    assert asked[1:] == list(range(kill_at // 10 * 10, 60))
    assert np.array_equal(resumed.slopes[...], undisturbed.slopes[...])
    for name, curve in expected.curves.items():
        assert np.array_equal(history.curves[name], curve)
    assert np.array_equal(history.evaluations["distance"], expected.evaluations["distance"])


def test_a_loss_that_is_not_finite_stops_it(tmp_path: Path) -> None:
    """The first bad step is named, and no checkpoint holds what came of it."""

    def broken(step: int) -> dict[str, np.ndarray]:
        batch = batch_of(step)
        return batch | {"y": batch["y"] * np.float32(np.nan if step == 13 else 1)}

    with pytest.raises(NonFiniteLoss, match="step 13") as caught:
        train(Line(), folder=tmp_path / "work", batches=broken)
    assert caught.value.step == 13
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["10"]


def noting(asked: list[int]) -> Callable[[int], Batch]:
    """Batches that note the steps they are asked for."""

    def batch(step: int) -> Batch:
        asked.append(step)
        return batch_of(step)

    return batch


def broken_at(*steps: int) -> Callable[[int], Batch]:
    """Batches of which some are not finite."""
    return lambda step: batch_of(step) | ({"y": np.full(16, np.nan, np.float32)} if step in steps else {})


def test_a_skipped_step_leaves_parameters_and_moments_as_they_were() -> None:
    """Training with a broken step 60 of 61 ends where 60 steps end; the step is listed and no later one is touched."""
    skipped, before = Line(), Line()
    history = train(skipped, 61, batches=broken_at(60), on_non_finite="skip")
    train(before, 60)
    assert np.array_equal(skipped.slopes[...], before.slopes[...])
    assert history.skipped_steps == [60]


@pytest.mark.parametrize("policy", ["skip", "rewind"])
@pytest.mark.parametrize("kill_at", [12, 14, 31, 40])
def test_steps_left_out_are_the_same_after_a_kill(tmp_path: Path, policy: str, kill_at: int) -> None:
    """Skipping, rewinding, and either of them killed and resumed give the same bits."""
    expected, resumed = Line(), Line()
    history = train(expected, batches=broken_at(13, 37), on_non_finite="skip")

    def dying(step: int) -> Batch:
        if step == kill_at:
            raise Killed
        return broken_at(13, 37)(step)

    with pytest.raises(Killed):
        train(Line(), folder=tmp_path, batches=dying, on_non_finite=policy)
    again = train(resumed, folder=tmp_path, batches=broken_at(13, 37), on_non_finite=policy)
    assert np.array_equal(resumed.slopes[...], expected.slopes[...])
    assert history.skipped_steps == again.skipped_steps == [13, 37]
    for name, curve in history.curves.items():
        assert np.array_equal(again.curves[name], curve, equal_nan=True)


def test_a_rewind_gets_rid_of_spoilt_parameters(tmp_path: Path) -> None:
    """A step that spoils the parameters once is undone; skipping would leave out every step after it."""
    spoil, clean = [True], Line()

    def spoilt_once(step: int) -> dict[str, np.ndarray]:
        if step == 17 and spoil:
            spoil.clear()
            return batch_of(step) | {"y": np.full(16, np.nan, np.float32)}
        return batch_of(step)

    line = Line()
    notices: list[str] = []
    history = train(
        line,
        folder=tmp_path,
        batches=spoilt_once,
        on_non_finite="rewind",
        watched=Supervision(notice=notices.append),
    )
    train(clean, batches=broken_at(17), on_non_finite="skip")
    assert history.skipped_steps == [17]
    assert np.array_equal(line.slopes[...], clean.slopes[...])
    assert notices == ["step 17 is not finite: rewound to step 10, to skip its update"]


@pytest.mark.parametrize("policy", ["skip", "rewind"])
def test_too_many_skipped_steps_stop_it(policy: str) -> None:
    """The error names the first step over the limit."""
    with pytest.raises(NonFiniteLoss, match="step 15 is not finite, after 2 steps that were skipped"):
        train(Line(), batches=broken_at(5, 9, 15, 20), on_non_finite=policy, most_skipped_steps=2)


def test_asked_to_stop_it_saves_and_goes_on_from_exactly_that_step(tmp_path: Path) -> None:
    """The step is no multiple of anything; the end is the undisturbed one, checksums included."""
    undisturbed, resumed = Line(), Line()
    asked: list[int] = []
    expected = train(undisturbed, hooks=[Digests(7)])
    with pytest.raises(Preempted, match="stopped after 23 of 60 steps; the state is saved"):
        train(
            Line(),
            folder=tmp_path,
            hooks=[Digests(7)],
            batches=noting(asked),
            watched=Supervision(lambda: len(asked) > 23),
        )
    asked.clear()
    history = train(
        resumed,
        folder=tmp_path,
        hooks=[Digests(7)],
        batches=noting(asked),
    )
    assert asked[1:] == list(range(23, 60))
    assert np.array_equal(resumed.slopes[...], undisturbed.slopes[...])
    assert history.checksums is not None
    assert expected.checksums is not None
    assert np.array_equal(history.checksums, expected.checksums)
    assert np.unique(history.checksums, axis=0).shape == (9, 2)


def test_the_first_steps_of_a_training_are_those_of_the_whole() -> None:
    """A replay relies on this."""
    whole = train(Line(), hooks=[Digests(7)])
    part = train(Line(), hooks=[Digests(7)], until_steps=30)
    assert np.array_equal(part.curves["loss"][:30], whole.curves["loss"][:30])
    assert part.checksums is not None
    assert whole.checksums is not None
    assert np.array_equal(part.checksums[:4], whole.checksums[:4])


TRAIN_AND_PRINT = """
import hashlib, sys
import numpy as np
from millrace.model.network import decoder as network
from millrace.model.package import weights
from millrace.model.network.config import ModelConfig
from millrace.model.training.loop import fit
from millrace.model.training.step import Objective
from millrace.model.training.optimizer import make_optimizer
from millrace.model.losses.next_token import NextTokenLoss

config = ModelConfig(256, 2, 64, 4, 1, 16, 160, 64)
decoder = network.create(config, 0)
batches = lambda step: {"tokens": np.random.default_rng(step).integers(0, 256, (8, 65)).astype(np.int32)}
fit(decoder, Objective(NextTokenLoss(), make_optimizer(1e-2)), batches, 6)
digest = hashlib.sha256()
for name, value in sorted(weights.tensors(decoder).items()):
    digest.update(name.encode() + value.tobytes())
print(digest.hexdigest())
"""


def test_two_processes_train_to_the_same_bits() -> None:
    """Whatever the hash seed and the threads' timing, equal steps give equal weights on one machine."""
    digests = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", TRAIN_AND_PRINT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert digests != {hashlib.sha256().hexdigest()}


def test_reading_is_counted_beside_the_steps() -> None:
    """Batches that take their time, each once."""

    def slow(step: int) -> dict[str, np.ndarray]:
        time.sleep(0.02)
        return batch_of(step)

    goodput = Goodput()
    train(Line(), 5, batches=slow, watched=Supervision(goodput=goodput))
    assert 0.1 <= goodput.reading_seconds <= goodput.useful_seconds()
