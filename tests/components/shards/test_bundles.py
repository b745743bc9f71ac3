"""A bundle's tasks: each runs once, as many at once as there are threads, and the first error ends the bundle."""

from __future__ import annotations

import threading
import time

import pytest

from millrace.components.shards.bundles import RunTasks


def run(tasks: RunTasks, count: int) -> None:
    """Runs a bundle as Beam does."""
    tasks.start_bundle()
    for number in range(count):
        tasks.process((number, iter([number * 10])))
    tasks.finish_bundle()


def test_every_task_runs_once_in_each_bundle() -> None:
    done: list[tuple[int, int]] = []
    tasks = RunTasks(lambda number, task: done.append((number, task)), threads=3)
    for _ in range(2):
        done.clear()
        run(tasks, 20)
        assert sorted(done) == [(number, number * 10) for number in range(20)]


def test_as_many_run_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(3, timeout=30)

    def work(number: int, task: int) -> None:
        together.wait()

    run(RunTasks(work, threads=3), 6)
    assert together.n_waiting == 0


def test_an_error_ends_the_bundle_and_tasks_that_wait_are_not_begun() -> None:
    begun: list[int] = []

    def work(number: int, task: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("the second task")
        time.sleep(0.05)

    with pytest.raises(ValueError, match="the second task"):
        run(RunTasks(work, threads=1), 200)
    assert begun[:2] == [0, 1]
    assert len(begun) < 200
