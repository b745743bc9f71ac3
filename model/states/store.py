"""The interface of a store of training states: checkpoints on disk, copies in memory, states that stay."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Moment(NamedTuple):
    """Where a training stands between two steps.

    Attributes:
        start: Steps that were done when it was begun or resumed.
        done: Steps that are done.
        end: Steps after which it ends.
        total_steps: Steps of the whole training.
        stopping: Whether it was asked to end and is about to.
    """

    start: int
    done: int
    end: int
    total_steps: int
    stopping: bool = False


class Store(Protocol):
    """One kind of saved states of a training; on several hosts every method but ``due`` is a collective.

    Attributes:
        loses: The kind of lost time that a save counts as.
        same_bytes: Whether equal trainings have to leave equal bytes in it, so that it may hold no wall time.
    """

    loses: str
    same_bytes: bool

    def lay_out(self, template: Any) -> None:
        """Takes the shapes, dtypes and layout of the states; comes before everything else."""

    def newest(self) -> int | None:
        """The step of the newest state that is whole, or None."""

    def restore(self, step: int, template: Any) -> Any:
        """The state of a step that ``newest`` gave, as ``template`` is shaped and laid out."""

    def due(self, moment: Moment) -> bool:
        """Whether a state is to be saved now."""
        ...

    def save(self, step: int, state: Any) -> None:
        """Saves a pytree of arrays as the state after ``step`` steps; the caller may then overwrite its buffers."""

    def wait(self) -> None:
        """Returns when the last save is safe."""
