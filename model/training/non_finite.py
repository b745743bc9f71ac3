"""Handles a step whose loss or gradient is not finite: stop, skip its update, or rewind.

``skip`` decides on the device, in the step itself, so the host waits for nothing. ``rewind`` goes back to the newest
checkpoint and does the steps again without the update of the bad one; where the data made it bad, both give the same
bits, but a rewind also discards parameters that a hardware fault corrupted. The skipped steps are part of the
training state (the curves, or a mask), never of the process, so a resumed training skips the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Policy = Literal["stop", "skip", "rewind"]


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient became infinite or not a number.

    Attributes:
        step: The first step (from 0) that is not finite.
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


class Guard:
    """Holds a training to a policy; asked whenever the curves have come from the devices.

    Args:
        policy: Treatment of a bad step.
        most_skipped_steps: More than this end the training under ``skip`` and ``rewind`` too.
        notice: Takes one line for each update that ``skip`` left out.
    """

    def __init__(self, policy: Policy, most_skipped_steps: int, notice: Callable[[str], None] | None) -> None:
        self._policy, self._most, self._notice = policy, most_skipped_steps, notice
        self._told = 0

    def step_to_rewind(
        self, curves: Mapping[str, np.ndarray], done: int, skips: np.ndarray | None
    ) -> int | None:
        """The step whose update a rewind has to leave out, or None when the training may go on.

        Args:
            curves: Those of the first ``done`` steps.
            done: Steps that are done.
            skips: bool [total_steps], steps that rewinds have left out already.

        Raises:
            NonFiniteLoss: The policy does not bear what happened.
        """
        bad = bad_steps(curves, done)
        if skips is not None:
            new = bad[~skips[bad]]
            if new.size and skips.sum() < self._most:
                return int(new[0])
        else:
            new = bad if self._policy == "stop" else bad[self._most :]
        if new.size:
            raise error_of(int(new[0]), curves, tuple(map(int, bad[bad < new[0]])))
        if self._notice and self._policy == "skip":
            for step in bad[self._told :]:
                self._notice(f"step {step} is not finite: its update was skipped")
            self._told = bad.size
        return None


def bad_steps(curves: Mapping[str, np.ndarray], done: int) -> np.ndarray:
    """Steps among the first ``done`` whose loss or gradient norm is not finite, in order."""
    fine = np.isfinite(curves["loss"][:done]) & np.isfinite(curves["gradient_norm"][:done])
    return np.flatnonzero(~fine)


def error_of(step: int, curves: Mapping[str, np.ndarray], skipped_steps: tuple[int, ...]) -> NonFiniteLoss:
    """The error that names a step and what of it is not finite."""
    what = "gradient norm" if np.isfinite(curves["loss"][step]) else "loss"
    return NonFiniteLoss(step, what, skipped_steps)
