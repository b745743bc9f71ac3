"""What training does about a step whose loss or gradient is not finite: stop, skip its update, or rewind.

``skip`` decides on the device, in the step itself, so the host waits for nothing. ``rewind`` goes back to the newest
checkpoint and does the steps again without the update of the bad one; where the data made it bad, both give the same
bits, but a rewind also gets rid of parameters that a fault of the machine has spoilt. Which steps were left out is
part of the training state (the curves, or a mask), never of the process, so a resumed training leaves out the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Policy = Literal["stop", "skip", "rewind"]


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient became infinite or not a number.

    Attributes:
        step: The first step (from 0) of which this holds.
        skipped_steps: Steps that were left out before it.
    """

    def __init__(self, step: int, what: str = "loss", skipped_steps: tuple[int, ...] = ()) -> None:
        after = f", after {len(skipped_steps)} steps that were skipped" if skipped_steps else ""
        super().__init__(f"the {what} of step {step} is not finite{after}")
        self.step = step
        self.skipped_steps = skipped_steps


def choose(applies: jax.Array, updated: Any, before: Any) -> Any:
    """A pytree's updated leaves where ``applies`` (a scalar bool), else the leaves before."""
    return jax.tree.map(lambda new, old: jnp.where(applies, new, old), updated, before)


def bad_steps(curves: Mapping[str, np.ndarray], done: int) -> np.ndarray:
    """Steps among the first ``done`` whose loss or gradient norm is not finite, in order."""
    fine = np.isfinite(curves["loss"][:done]) & np.isfinite(curves["gradient_norm"][:done])
    return np.flatnonzero(~fine)


def error_of(step: int, curves: Mapping[str, np.ndarray], skipped_steps: tuple[int, ...]) -> NonFiniteLoss:
    """The error that names a step and what of it is not finite."""
    what = "gradient norm" if np.isfinite(curves["loss"][step]) else "loss"
    return NonFiniteLoss(step, what, skipped_steps)
