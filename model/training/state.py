"""The state of a training: a pytree with names and types, which is compiled, spread, saved and restored as one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np


class TrainState(NamedTuple):
    """Input and output of a step, on the devices.

    Attributes:
        params: The trained variables, nested dictionaries with the module's names.
        optimizer: Optax's state.
        step: int32, steps that are done.
        curves: Name -> float32 [total_steps], written by each step.
        skips: bool [total_steps], steps whose update is left out; None unless the policy is to rewind.
        checksums: uint32 [digests, 2], of the parameters (see ``hooks.Digests``); None where none are taken.
    """

    params: Any
    optimizer: Any
    step: jax.Array
    curves: dict[str, jax.Array]
    skips: jax.Array | None = None
    checksums: jax.Array | None = None


class Saved(NamedTuple):
    """The state of a training as stores keep it.

    Attributes:
        train: The state on the devices.
        measured: Name -> float64, what hooks measured.
        useful_seconds: float64, time that went into steps which count.
        sampled: Name -> float64 [total_steps], what batches that the model made itself told.
    """

    train: TrainState
    measured: dict[str, np.ndarray]
    useful_seconds: np.ndarray
    sampled: dict[str, np.ndarray]
