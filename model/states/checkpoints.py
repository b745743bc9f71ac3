"""Training state on disk, for resuming only: Orbax checkpoints in a stage's private work folder.

A save copies the state to host memory and returns; a thread writes it while the next steps run. The copy is needed
because the train step donates its buffers, and on CPU a host view of a buffer is the buffer. Orbax writes a step aside
and renames it when it is complete, then the step is sealed (see ``integrity``) and only then are older ones deleted,
so a process killed at any instant leaves at least the newest sealed step. Restoring verifies every file: a damaged
step is named in the log, deleted, and the one before it is used. When all are damaged, training starts afresh, which
costs time and no correctness, because the same inputs give the same bits.

On several hosts the folder is shared. Host 0 alone verifies, writes, seals and deletes: a save gathers the state leaf by
leaf, so a checkpoint is the same files whatever the layout, and any number of hosts can go on from it, each reading
what its devices hold. The price is that host 0's memory takes the whole state while it is written.

Folders hold timestamps and random file names, therefore they are never published; artifacts hold safetensors (see
``weights`` and ``kept_states``).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from millrace.model.devices import hosts

from . import integrity
from .store import Moment


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
        host = jax.process_index()
        self._writes = host == 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                enable_async_checkpointing=False,
                cleanup_tmp_directories=self._writes,
                create=False,
                # Each host by itself: Orbax would have all of them write, and meet at every save.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=host, active_processes={host}, barrier_sync_key_prefix=f"host{host}"
                ),
            ),
        )
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def lay_out(self, template: Any) -> None:
        """A checkpoint is the same files whatever the layout."""

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
        copy = _host_copy(state, keep=self._writes)
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
        self._manager.reload()
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

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
            self._manager.close()

    def _write(self, step: int, state: Any) -> None:
        self._manager.save(step, args=ocp.args.StandardSave(state), force=True)
        integrity.seal(self._folder / str(step))
        kept = sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())
        for old in kept[: -self._keep]:
            self._delete(old)

    def _delete(self, step: int) -> None:
        # The seal goes first: a folder that a kill leaves half deleted then says so itself.
        (self._folder / str(step) / integrity.FILE).unlink(missing_ok=True)
        shutil.rmtree(self._folder / str(step))
        self._manager.reload()


def _host_copy(state: Any, *, keep: bool) -> Any:
    """A pytree of NumPy arrays that share no memory with the devices' buffers; nothing for a host that keeps none."""
    for leaf in jax.tree.leaves(state):
        if isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
            leaf.copy_to_host_async()

    def copy(leaf: Any) -> np.ndarray | None:
        whole = hosts.gathered(leaf)
        return np.array(whole) if keep else None

    return jax.tree.map(copy, state)
