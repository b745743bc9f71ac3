"""Trainings that differ in their batches alone use one compiled step, and end with the bits of steps of their own."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from millrace.model.training.loop import fit
from millrace.model.training.step import Objective, SharedStep


@pytest.fixture(autouse=True)
def strict_promotion() -> None:
    """Not here: Optax raises floats to the power of integer counts."""


class Line(nnx.Module):
    """A linear model."""

    def __init__(self) -> None:
        self.slopes = nnx.Param(jnp.zeros((3,)))


class Squares:
    """The squared error, which counts how often it is traced with values of a batch's shape."""

    def __init__(self) -> None:
        self.traces = 0

    def __call__(self, line: Line, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        self.traces += 1
        return jnp.mean((batch["x"] @ line.slopes[...] - batch["y"]) ** 2), {}


def batch_of(seed: int, step: int) -> dict[str, np.ndarray]:
    x = np.random.default_rng([seed, step]).normal(size=(16, 3)).astype(np.float32)
    return {"x": x, "y": x @ np.asarray([1.0, -2.0, seed], np.float32)}


def trained(
    seed: int, optimizer: optax.GradientTransformation, loss: Squares, step: SharedStep
) -> np.ndarray:
    line = Line()
    fit(line, Objective(loss, optimizer), lambda number: batch_of(seed, number), 20, shared=step)
    return np.asarray(line.slopes[...])


def test_the_second_training_compiles_nothing_and_ends_with_the_bits_of_a_step_of_its_own() -> None:
    """Only the names of its metrics are looked at once more."""
    optimizer, loss, step = optax.adam(0.1), Squares(), SharedStep()
    first = trained(0, optimizer, loss, step)
    before = loss.traces
    second = trained(1, optimizer, loss, step)
    assert loss.traces == before + 1
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, trained(1, optimizer, loss, SharedStep()))


def test_a_training_of_another_kind_is_refused() -> None:
    optimizer, loss, step = optax.adam(0.1), Squares(), SharedStep()
    trained(0, optimizer, loss, step)
    with pytest.raises(ValueError, match="another module, optimizer, loss or mesh"):
        trained(0, optax.adam(0.2), loss, step)
