"""Goodput: the share of a training's wall time that went into steps that count.

Everything else is named: starting, compiling, evaluating, copying and waiting for checkpoints, restoring, steps that a
rewind threw away, and the cost of earlier attempts beyond the steps that this one resumes from: their own overhead,
steps that a failure lost, and the time until training ran again. Wall times are for the log, live metrics and
checkpoints only; no artifact may hold them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Goodput:
    """A stopwatch that runs from a training's first start, in the thread of the training loop.

    Args:
        clock: Seconds from any fixed moment, the same for all processes.
        start: When an earlier attempt at the same training first started; now, without one.

    Attributes:
        reading_seconds: Time that went into reading batches. It is part of the steps': the device works meanwhile, and
            waits for so long at most.
    """

    def __init__(self, clock: Callable[[], float] = time.time, start: float | None = None) -> None:
        self._clock = clock
        self._start = clock() if start is None else start
        self._lost: dict[str, float] = {}
        self.reading_seconds = 0.0
        self._before = "starting" if start is None else "earlier attempts"

    @classmethod
    def since(cls, file: Path) -> Goodput:
        """A stopwatch that runs from the moment that a file holds, or from now, which the file then holds."""
        with contextlib.suppress(FileNotFoundError, ValueError):  # a power cut may leave the file empty
            return cls(start=float(file.read_text()))
        goodput = cls()
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.tmp")
        aside.write_text(repr(goodput._start))
        aside.rename(file)
        return goodput

    @contextlib.contextmanager
    def lost(self, reason: str) -> Iterator[None]:
        """Counts the time inside the block as lost."""
        start = self._clock()
        try:
            yield
        finally:
            self._lost[reason] = self._lost.get(reason, 0.0) + self._clock() - start

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Counts the time inside the block as reading."""
        start = self._clock()
        try:
            yield
        finally:
            self.reading_seconds += self._clock() - start

    def resumed(self, useful_seconds: float, reason: str | None = None) -> None:
        """Sets the useful time to that of a restored state; the rest of the time until now is lost.

        Args:
            useful_seconds: Value of ``useful_seconds`` when the state was saved; 0 for a fresh one.
            reason: Why; starting or earlier attempts when left out.
        """
        reason = reason or self._before
        self._lost[reason] = self._lost.get(reason, 0.0) + self.useful_seconds() - useful_seconds

    def useful_seconds(self) -> float:
        """Time until now that is not lost."""
        return self._clock() - self._start - sum(self._lost.values())

    def share(self) -> float:
        """Useful time over elapsed time, in [0, 1]."""
        return self.useful_seconds() / max(self._clock() - self._start, 1e-9)

    def summary(self) -> str:
        """One line for the log."""
        parts = "".join(f", {seconds:.1f} s {reason}" for reason, seconds in sorted(self._lost.items()))
        steps = f"{self.useful_seconds():.1f} s of steps ({self.reading_seconds:.1f} s reading)"
        return f"goodput {self.share():.1%}: {steps}{parts}"
