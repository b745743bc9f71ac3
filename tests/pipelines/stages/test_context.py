"""The context of a running stage, and its reports."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.stages import context as contexts
from millrace.pipelines.stages.context import StageContext


def context(events: list[dict[str, Any]], **more: Any) -> StageContext:
    log = logging.getLogger("stage")
    outputs = {"documents": Path("out")}
    return StageContext(seed=1, work=Path("work"), outputs=outputs, emit=events.append, log=log, **more)


def test_a_metric_without_a_step_is_a_result() -> None:
    events: list[dict[str, Any]] = []
    stage = context(events)
    stage.metric("loss", 2, step=7)
    stage.metric("documents_out", 3)
    stage.metric("documents_out", 4)
    assert stage.metrics == {"documents_out": 4.0}
    assert [(event["name"], event["value"], event["step"]) for event in events] == [
        ("loss", 2.0, 7),
        ("documents_out", 3.0, None),
        ("documents_out", 4.0, None),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_json_has_not_is_told_as_text_that_reads_back(value: float) -> None:
    events: list[dict[str, Any]] = []
    context(events).metric("loss", value, step=1)
    assert isinstance(events[0]["value"], str)
    assert repr(float(events[0]["value"])) == repr(value)


def test_progress_is_told_a_few_times_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[dict[str, Any]] = []
    stage, now = context(events), [1000.0]
    monkeypatch.setattr(contexts.time, "monotonic", lambda: now[0])
    for done in range(1, 101):  # a second in all
        now[0] += 0.01
        stage.progress(done, 100, "documents")
    assert 5 <= len(events) <= 1 / contexts.PROGRESS_SECONDS + 2
    assert events[-1] == {"event": "progress", "done": 100.0, "total": 100.0, "unit": "documents"}


def test_outputs_are_the_folders_it_was_given() -> None:
    stage = context([])
    assert stage.output("documents") == Path("out")
    with pytest.raises(KeyError):
        stage.output("other")


@pytest.mark.parametrize(("runner", "threads"), [(None, 5), ("FlinkRunner", 1)])
def test_a_worker_has_all_cores_only_when_it_is_alone(runner: str | None, threads: int) -> None:
    assert context([], beam_runner=runner, cores=5).threads == threads
