"""Training state on disk, for resuming only: the newest few steps, in a stage's private work folder.

    1000/state.safetensors, integrity.json     the state after 1,000 steps

A save copies the state to host memory and returns; a thread writes it while the next steps run. The copy is needed
because the train step donates its buffers, and on CPU a host view of a buffer is the buffer. A step is written aside,
sealed (see ``integrity``) and renamed, and only then are older ones deleted, so a process killed at any instant leaves
at least the newest whole step. Restoring verifies every file: a damaged step is named in the log, deleted, and the one
before it is used. When all are damaged, training starts afresh, which costs time and no correctness, because the same
inputs give the same bits.

On several hosts the folder is shared. Host 0 alone verifies, writes, seals and deletes: a save gathers the state leaf by
leaf, so a checkpoint is the same file whatever the layout, and any number of hosts can resume from it, each reading
only the shards of its own devices. The price is that host 0's memory takes the whole state while it is written.

Not Orbax: with the seal its folders took two to four times as long to write and 1.5 to 1.8 times as long to read, and
0.7 s to import (``benchmarks/states.py``, docs/log.md).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from millrace.model.devices import hosts

from . import integrity, state_file
from .store import Moment

ASIDE = ".tmp"


class Checkpoints:
    """The checkpoints of one training, newest last: a ``Store``.

    Args:
        folder: Where they are kept; made when missing.
        every_steps: Steps between two.
        keep: How many of the newest to keep.
        log: Takes one line for each damaged file and for what follows from it; this module's logger by default.

    Raises:
        ValueError: ``keep`` is below one.
    """

    loses = "checkpointing"
    same_bytes = False

    def __init__(
        self,
        folder: Path,
        every_steps: int = 50,
        keep: int = 2,
        log: Callable[[str], None] | None = None,
    ) -> None:
        if keep < 1:
            raise ValueError(f"got keep {keep}, expected at least 1")
        self._folder, self._every_steps = folder.absolute(), every_steps
        self._keep = keep
        self._log = log or logging.getLogger(__name__).warning
        self._writes = jax.process_index() == 0
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._writes:
            for left in self._folder.glob(f"*{ASIDE}"):  # by a kill
                shutil.rmtree(left)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def lay_out(self, template: Any) -> None:
        """A checkpoint is the same file whatever the layout."""

    def due(self, moment: Moment) -> bool:
        """At multiples, at the end, and when the training is to end before it."""
        at = moment.done == moment.end or moment.done % self._every_steps == 0
        return moment.done > moment.start and (at or moment.stopping)

    def save(self, step: int, state: Any) -> None:
        """Keeps a pytree of arrays as the state after ``step`` steps; on several hosts a collective.

        Returns when the state is copied; the caller may then overwrite its buffers. At most one save is being
        written: a second waits for it, so host memory holds one copy.

        Raises:
            OSError: The save before this one could not be written.
        """
        self.wait()
        copy = state_file.host_copy(state)
        if self._writes:
            self._pending = self._writer.submit(self._write, step, copy)

    def wait(self) -> None:
        """Returns when the last save is sealed on disk; on several hosts only host 0 waits.

        Raises:
            OSError: It could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def steps(self) -> list[int]:
        """Steps with a checkpoint, oldest first."""
        self.wait()
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())

    def newest(self) -> int | None:
        """The step of the newest state that is whole, or None; on several hosts a collective.

        Damaged ones that are newer are named in the log and deleted.
        """
        found = self._newest_whole() if self._writes else None
        step = int(hosts.every(np.asarray(-1 if found is None else found))[0])
        return None if step < 0 else step

    def restore(self, step: int, template: Any) -> Any:
        """The state of a step that ``newest`` gave.

        Args:
            step: The step.
            template: A pytree with the structure, shapes and dtypes that were saved, laid out as wanted: arrays, or
                descriptions of some.
        """
        return state_file.read(self._folder / str(step), template)

    def restore_latest(self, template: Any) -> tuple[int, Any] | None:
        """The newest state that is whole, as (steps done, state), or None; see ``newest`` and ``restore``."""
        step = self.newest()
        return None if step is None else (step, self.restore(step, template))

    def _newest_whole(self) -> int | None:
        damaged: list[int] = []
        for step in reversed(self.steps()):
            wrong = integrity.damage(self._folder / str(step))
            if not wrong:
                if damaged:
                    self._log(f"going on from the checkpoint of step {step} instead of {damaged[0]}")
                return step
            for line in wrong:
                self._log(f"checkpoint of step {step} is damaged: {line}")
            damaged.append(step)
            self._delete(step)
        if damaged:
            self._log(
                f"no checkpoint is whole (damaged: {', '.join(map(str, damaged))}), so training starts from step 0; "
                "check the disk"
            )
        return None

    def close(self) -> None:
        """Waits for the last save and ends the threads.

        Raises:
            OSError: The last save could not be written.
        """
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def _write(self, step: int, arrays: Mapping[str, np.ndarray]) -> None:
        aside = self._folder / f"{step}{ASIDE}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        state_file.write(aside, arrays)
        aside.rename(self._folder / str(step))
        integrity.sync_folder(self._folder)
        kept = sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())
        for old in kept[: -self._keep]:
            self._delete(old)

    def _delete(self, step: int) -> None:
        # The seal goes first: a folder that a kill leaves half deleted then says so itself.
        (self._folder / str(step) / integrity.FILE).unlink(missing_ok=True)
        shutil.rmtree(self._folder / str(step))
