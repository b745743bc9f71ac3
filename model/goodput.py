"""Goodput: the share of a training's wall time that went into steps that count.

Everything else is named: compiling, evaluating, copying and waiting for checkpoints, restoring, and steps that a rewind
threw away. Wall times are for the log and live metrics only; no artifact may hold them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Goodput:
    """A stopwatch that runs from its making, in the thread of the training loop.

    Args:
        clock: Seconds from any fixed moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._lost: dict[str, float] = {}
        self._useful_when_saved = 0.0

    @contextlib.contextmanager
    def lost(self, reason: str) -> Iterator[None]:
        """Counts the time inside the block as lost."""
        start = self._clock()
        try:
            yield
        finally:
            self._lost[reason] = self._lost.get(reason, 0.0) + self._clock() - start

    def saved(self) -> None:
        """The steps until now can be gone on from."""
        self._useful_when_saved = self._useful()

    def rewound(self) -> None:
        """The steps since the last ``saved`` are done again."""
        wasted = self._useful() - self._useful_when_saved
        self._lost["rewound steps"] = self._lost.get("rewound steps", 0.0) + wasted

    def share(self) -> float:
        """Useful time over elapsed time, in [0, 1]."""
        return self._useful() / max(self._clock() - self._start, 1e-9)

    def summary(self) -> str:
        """One line for the log."""
        parts = "".join(f", {seconds:.1f} s {reason}" for reason, seconds in sorted(self._lost.items()))
        return f"goodput {self.share():.1%}: {self._useful():.1f} s of steps{parts}"

    def _useful(self) -> float:
        return self._clock() - self._start - sum(self._lost.values())
