"""The shard wiring: order, errors, progress, and what counts as implausible."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millrace.components.contract import ComponentError
from millrace.components.shards.map import Tally, dump_tallies, map_shards, report_tallies, sum_tallies
from millrace.pipelines.stages.context import StageContext


def stage(tmp_path: Path, events: list[dict[str, Any]], cores: int = 2) -> StageContext:
    return StageContext(
        seed=0, work=tmp_path, outputs={}, emit=events.append, log=logging.getLogger("test"), cores=cores
    )


def square(offset: int, task: int) -> dict[str, int]:
    time.sleep(0.02 * (task % 3))
    return {"value": task * task + offset}


def refuse_odd(task: int) -> int:
    if task % 2:
        raise ComponentError(f"got {task}, expected an even number")
    return task


def crash(task: int) -> int:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize("cores", [1, 3])
def test_results_come_in_the_order_of_the_tasks_for_any_number_of_threads(tmp_path: Path, cores: int) -> None:
    events: list[dict[str, Any]] = []
    results = map_shards(stage(tmp_path, events, cores), range(7), partial(square, 1), "Square")
    assert results == [{"value": task * task + 1} for task in range(7)]
    assert events[-1] == {"event": "progress", "done": 7, "total": 7, "unit": "shards"}
    assert not list(tmp_path.iterdir())


def own_process(task: int) -> int:
    time.sleep(0.3)
    return os.getpid()


def test_options_that_name_a_kind_of_worker_get_one_for_each_core(tmp_path: Path) -> None:
    """Worker processes are as many as cores, none of them this one, and each has one shard at a time."""
    options = {"direct_running_mode": "multi_processing"}
    context = StageContext(
        seed=0,
        work=tmp_path,
        outputs={},
        emit=print,
        log=logging.getLogger("t"),
        cores=2,
        beam_options=options,
    )
    found = set(map_shards(context, range(6), own_process, "Ask"))
    assert len(found) == 2
    assert os.getpid() not in found
    assert context.threads == 1


def test_no_tasks_give_no_results(tmp_path: Path) -> None:
    assert map_shards(stage(tmp_path, []), [], refuse_odd, "Nothing") == []


def test_the_first_users_error_in_task_order_is_raised_with_its_own_message(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"^got 3, expected an even number$"):
        map_shards(stage(tmp_path, []), [0, 3, 5], refuse_odd, "Refuse")


def test_a_bug_in_the_work_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="a bug"):
        map_shards(stage(tmp_path, []), [1], crash, "Crash")


def test_tallies_add_up_over_shards_and_sources(tmp_path: Path) -> None:
    one, two = Tally(), Tally()
    one.keep(10)
    one.drop("short", 2)
    two.keep(5, before_bytes=8)
    total = sum_tallies([dump_tallies({"code": one}), dump_tallies({"code": two, "docs": one})])
    assert total["code"] == Tally(3, 2, 20, 15, {"short": 1})
    events: list[dict[str, Any]] = []
    everything = report_tallies(stage(tmp_path, events), total, max_drop_fraction=0.5)
    assert everything == Tally(5, 3, 32, 25, {"short": 2})
    metrics = {event["name"]: event["value"] for event in events}
    assert metrics["documents_out.docs"] == 1
    assert metrics["dropped.short"] == 2
    assert metrics["drop_fraction"] == pytest.approx(0.4)


def test_too_many_drops_fail_and_name_the_rule_that_dropped_most(tmp_path: Path) -> None:
    tally = Tally(10, 2, 100, 20, {"short": 5, "long": 3})
    with pytest.raises(ComponentError, match=r"8 of 10 .* rule short dropped most \(5\)"):
        report_tallies(stage(tmp_path, []), {"docs": tally}, max_drop_fraction=0.7)


@pytest.mark.parametrize("tallies", [{}, {"docs": Tally(3, 0, 9, 0, {"short": 3})}])
def test_nothing_in_or_nothing_out_fails_whatever_the_limit(
    tmp_path: Path, tallies: dict[str, Tally]
) -> None:
    with pytest.raises(ComponentError, match=r"no documents|at least one kept"):
        report_tallies(stage(tmp_path, []), tallies, max_drop_fraction=1.0)
