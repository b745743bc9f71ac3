"""The stores of a training as one: training resumes from the newest state of any, and each gets the saves that are due."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millrace.model.devices import hosts
from millrace.model.states.store import Moment, Store

from .goodput import Goodput
from .state import Saved


class Saving:
    """Saves and resumes a training.

    Args:
        stores: In the order in which they are written; of equally new states the first store's is taken.
        clock: Clock that books the time of saving as lost.
    """

    def __init__(self, stores: Sequence[Store], clock: Goodput) -> None:
        self._stores, self._clock = stores, clock

    def newest(self, template: Saved) -> tuple[int, Saved] | None:
        """The newest state of any store that is whole, as (steps done, state), or None.

        Args:
            template: The state's description.
        """
        for store in self._stores:
            store.lay_out(template)
        found = [(step, store) for store in self._stores if (step := store.newest())]
        if not found:
            return None
        step, newest = max(found, key=lambda each: each[0])
        return step, newest.restore(step, template)

    def due(self, moment: Moment) -> list[Store]:
        """The stores that are to save now."""
        return [store for store in self._stores if store.due(moment)]

    def save(self, due: Sequence[Store], moment: Moment, state: Saved) -> None:
        """Gives the state to the stores that ``due`` named; one that is to end waits until it is safe."""
        for store in due:
            with self._clock.lost(store.loses):
                store.save(
                    moment.done, state._replace(useful_seconds=np.zeros(())) if store.same_bytes else state
                )
                if moment.stopping:
                    store.wait()
                    hosts.any_of(True)  # none ends before host 0 has written

    def wait(self) -> None:
        """Returns when all saves are safe."""
        for store in self._stores:
            with self._clock.lost(store.loses):
                store.wait()

    def __bool__(self) -> bool:
        """Whether there is any store."""
        return bool(self._stores)
