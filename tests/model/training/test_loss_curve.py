"""A training falls as the same training written plainly does, on real text, bytes as tokens."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from tests import plain_training

from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.package import weights
from millrace.model.training.loop import fit
from millrace.model.training.optimizer import make_optimizer
from millrace.model.training.step import Objective

WINDOW_STEPS = 20


@cache
def text() -> np.ndarray:
    """The standard library's modules, one after the other."""
    folder = Path(sysconfig.get_path("stdlib"))
    return np.frombuffer(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py"))), np.uint8)


def batches_of(rows: int, length: int) -> Callable[[int], dict[str, np.ndarray]]:
    """Step -> rows of the text, at places that the step draws."""

    def batch(step: int) -> dict[str, np.ndarray]:
        starts = np.random.default_rng(step).integers(0, text().size - length, rows)
        return {"tokens": np.stack([text()[start : start + length + 1] for start in starts]).astype(np.int32)}

    return batch


@pytest.mark.parametrize(
    ("config", "rows", "steps"),
    [
        (ModelConfig(256, 2, 64, 4, 1, 16, 160, 64), 8, 80),
        pytest.param(ModelConfig(256, 4, 128, 4, 1, 32, 512, 256), 8, 1_000, marks=pytest.mark.slow),
    ],
    ids=["41 thousand tokens", "2 million tokens"],
)
def test_the_curve_is_that_of_a_plain_implementation(config: ModelConfig, rows: int, steps: int) -> None:
    """Means over 20 steps stay within 1% from the first to the last, and both have fallen."""
    batches = batches_of(rows, config.max_sequence_tokens)
    decoder = network.create(config, 0)
    plain = plain_training.train(config, weights.tensors(decoder), batches, steps, 3e-3)
    with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
        history = fit(decoder, Objective(NextTokenLoss(), make_optimizer(3e-3)), batches, steps)
    ours, theirs = (
        losses.reshape(-1, WINDOW_STEPS).mean(axis=1) for losses in (history.curves["loss"], plain)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0.01)
    assert ours[-1] < 0.75 * ours[0]
