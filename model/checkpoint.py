"""Training state on disk, for resuming only: Orbax checkpoints in a stage's private work folder.

Orbax writes a step aside and renames it when it is complete, so a process killed at any instant leaves the earlier
steps as they were and at most an unfinished folder, which the next start removes. Its folders hold timestamps and
random file names, therefore they are never published; artifacts hold safetensors (see ``weights``).

Saves are synchronous: about 0.1 s for a state of 50 MB, and no thread reads buffers that the next step overwrites.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp


class Checkpoints:
    """The checkpoints of one training, newest last.

    Args:
        folder: Where they are kept; made when missing.
        keep: How many to keep; older ones are deleted after a newer one is complete.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
            ),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def save(self, step: int, state: Any) -> None:
        """Keeps a pytree of arrays as the state after ``step`` steps; returns when it is on disk."""
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore_latest(self, template: Any) -> tuple[int, Any] | None:
        """The newest complete state.

        Args:
            template: A pytree of arrays with the structure, shapes and dtypes that were saved.

        Returns:
            (steps done, state), or None when there is none.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        return step, self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def close(self) -> None:
        """Ends the manager's threads."""
        self._manager.close()
