"""States of a training that stay when it is over, for doing its steps again from the middle.

    step-000001000/state.safetensors, integrity.json     the state after 1,000 steps

Tensors are named by their path in the state (``train.params.layers.attention.query``). The same state is the same
bytes, so that an artifact can hold it, which it could not as an Orbax folder with its timestamps and random names.

Writing one holds the training up. They are sealed as checkpoints are (see ``integrity``), and a training goes on from
one that is newer than its newest checkpoint.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from millrace.model.devices import hosts

from . import integrity
from .store import Moment

STATE_FILE = "state.safetensors"


class OtherTraining(ValueError):
    """A state does not have the shape that this training gives it."""


class KeptStates:
    """The kept states of one training: a ``Store``.

    Args:
        folder: Where they are; made when missing. Several hosts share it.
        every_steps: Steps between two; 0 for none.
        log: Takes one line for each damaged file; this module's logger by default.
    """

    loses = "checkpointing"
    same_bytes = True

    def __init__(self, folder: Path, every_steps: int = 0, log: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._every_steps = every_steps
        self._log = log or logging.getLogger(__name__).warning
        folder.mkdir(parents=True, exist_ok=True)

    def lay_out(self, template: Any) -> None:
        """A state is the same file whatever the layout."""

    def due(self, moment: Moment) -> bool:
        """At multiples; one that is to end leaves it to the next process, which measures first."""
        done, every = moment.done, self._every_steps
        if moment.stopping or not every or not done or done % every:
            return False
        # A kill between a checkpoint and the state of the same step may have left the state out.
        return moment.start < done or not self.has(done)

    def has(self, step: int) -> bool:
        """Whether the state after ``step`` steps was written to its end."""
        return (self._folder / folder_name(step) / integrity.FILE).exists()

    def save(self, step: int, state: Any) -> None:
        """Keeps a pytree of arrays as the state after ``step`` steps; on several hosts a collective.

        Raises:
            OSError, safetensors.SafetensorError: It could not be written.
        """
        tensors = {}
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
            whole = hosts.gathered(leaf)
            if jax.process_index() == 0:
                tensors[_name(path)] = np.asarray(whole, order="C")
        if jax.process_index() == 0:
            place = self._folder / folder_name(step)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            save_file(tensors, place / STATE_FILE)
            integrity.seal(place)

    def wait(self) -> None:
        """Saving has waited."""

    def newest(self) -> int | None:
        """The step of the newest state that is whole, or None; on several hosts a collective."""
        found = self._newest_whole() if jax.process_index() == 0 else None
        step = int(hosts.every(np.asarray(-1 if found is None else found))[0])
        return None if step < 0 else step

    def restore(self, step: int, template: Any) -> Any:
        """The state of a step that ``newest`` gave.

        Args:
            step: The step.
            template: A pytree of what to read: arrays of NumPy's, or descriptions with layouts of JAX's.

        Raises:
            OtherTraining: The state is not of this shape.
        """
        file = self._folder / folder_name(step) / STATE_FILE
        with safe_open(file, framework="numpy") as stored:
            names = set(stored.keys())

            def read(path: Any, leaf: Any) -> Any:
                name = _name(path)
                value = stored.get_tensor(name) if name in names else None
                if value is None or value.shape != leaf.shape or value.dtype != leaf.dtype:
                    got = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
                    raise OtherTraining(
                        f"{file}: got {got} for {name}, expected {leaf.dtype} {list(leaf.shape)}"
                    )
                if isinstance(leaf, np.ndarray):
                    return value
                return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: value[index])

            return jax.tree_util.tree_map_with_path(read, template)

    def _newest_whole(self) -> int | None:
        for step in sorted(steps(self._folder), reverse=True):
            wrong = integrity.damage(self._folder / folder_name(step))
            if not wrong:
                return step
            for line in wrong:
                self._log(f"the kept state of step {step} is damaged: {line}")
        return None


def folder_name(step: int) -> str:
    """The folder of the state after ``step`` steps."""
    return f"step-{step:09d}"


def steps(folder: Path) -> list[int]:
    """Steps of which a folder has a state, whole or not."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
