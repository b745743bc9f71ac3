"""States of a training that stay after its end, so that a replay can begin in the middle.

    step-000001000/state.safetensors, integrity.json     the state after 1,000 steps

The same state is the same bytes, so that an artifact can hold it.

The training waits while one is written. They are sealed like checkpoints (see ``integrity``), and a training resumes
from one that is newer than its newest checkpoint.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from millrace.model.devices import hosts

from . import integrity, state_file
from .store import Moment


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
        arrays = state_file.host_copy(state)
        if jax.process_index() == 0:
            place = self._folder / folder_name(step)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            state_file.write(place, arrays)

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
        return state_file.read(self._folder / folder_name(step), template)

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
    """Steps that have a state in a folder, complete or not."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))
