"""Beam's side of a data stage: the tasks of a bundle run on all cores of the worker that has the bundle.

Beam's in-process runner could run several workers, but then they talk over gRPC, which doubles the fixed time of a
pass, and each gets its share of the tasks beforehand, so that one may wait for another. Here a free thread takes the
next task. Runners with workers of their own give every worker bundles, and each takes one task at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

import apache_beam as beam


class RunTasks(beam.DoFn):
    """Calls a function with every task of a bundle, in threads."""

    def __init__(self, work: Callable[[int, Any], None], threads: int) -> None:
        """Tells what to do.

        Args:
            work: Takes a task's number and the task; pickled with everything that is bound to it.
            threads: How many tasks a worker runs at once.
        """
        self._work, self._threads = work, threads

    def start_bundle(self) -> None:
        """Starts the threads."""
        self._pool = ThreadPoolExecutor(self._threads)
        self._running: list[Future[None]] = []

    def process(self, group: tuple[int, Iterable[Any]]) -> None:
        """Queues a task."""
        index, (task,) = group
        self._running.append(self._pool.submit(self._work, index, task))

    def finish_bundle(self) -> None:
        """Waits for the tasks; an error in one ends the bundle, and waiting tasks are not begun."""
        done, _ = wait(self._running, return_when=FIRST_EXCEPTION)
        self._pool.shutdown(cancel_futures=True)
        for future in done:
            future.result()
