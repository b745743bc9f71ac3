"""Preemption: notes a signal to end; the training loop checks for it at every step boundary.

A scheduler (or Ctrl-C) sends SIGTERM or SIGINT and kills soon after. The first signal is only noted, so that the
current step ends and its state can be saved; a second one has its usual effect.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preempted(Exception):
    """Training was asked to end and did, between two steps.

    Attributes:
        done: Steps that are done.
        saved: Whether a checkpoint holds the state after them.
    """

    def __init__(self, done: int, total_steps: int, saved: bool) -> None:
        kept = "the state is saved, run again to go on from there" if saved else "nothing is saved"
        super().__init__(f"was asked to end and stopped after {done} of {total_steps} steps; {kept}")
        self.done = done
        self.saved = saved


class StopRequest:
    """Notes the first SIGTERM or SIGINT while it is entered; calling it tells whether one came.

    Outside the main thread, where Python takes no signals, it never becomes true by itself.
    """

    def __init__(self) -> None:
        self._requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self._requested

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
