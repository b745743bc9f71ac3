"""A run that several machines write: one id, and the state that all reports together give."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.pipelines.engines import shared_run
from millrace.pipelines.spec.models import Pipeline, resolve
from millrace.pipelines.spec.source_map import Source
from millrace.pipelines.store.store import Store

JOB = "0F9C1B7E-aaaa-bbbb"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Two stages."""
    stages = {name: {"uses": "benchmarks", "with": {"files": {"a": "b"}}} for name in ("one", "two")}
    return resolve(Source({"name": "shared", "stages": stages}), tmp_path)


def test_the_stages_of_a_job_find_the_run_that_the_first_made(store: Store, pipeline: Pipeline) -> None:
    run = shared_run.run_id(store, JOB)
    assert run.endswith("-0f9c1b7e")
    shared_run.report(store, pipeline, "20000101-000000-0f9c1b7e", "one", "running")
    assert shared_run.run_id(store, JOB) == "20000101-000000-0f9c1b7e"
    assert shared_run.run_id(store, "another") != "20000101-000000-0f9c1b7e"


@pytest.mark.parametrize(
    ("one", "two", "status"),
    [
        ("running", None, "running"),
        ("ran", None, "running"),
        ("ran", "running", "running"),
        ("ran", "reused", "done"),
        ("ran", "failed", "failed"),
        ("running", "closed", "closed"),
        ("failed", "closed", "failed"),
    ],
)
def test_the_runs_state_is_that_of_its_stages(
    store: Store, pipeline: Pipeline, one: str, two: str | None, status: str
) -> None:
    shared_run.report(store, pipeline, "r", "one", one, key="k", seconds=2.0)
    if two is not None:
        shared_run.report(store, pipeline, "r", "two", two, message="why")
    state = store.read_run("r")
    assert state is not None
    assert (state["status"], state["pipeline"]) == (status, "shared")
    assert [stage["status"] for stage in state["stages"].values()] == [one, two or "waiting"]
    assert state["stages"]["one"]["key"] == "k"
    assert state["started"] <= state["updated"] - 2.0


def test_a_stage_that_reports_again_replaces_its_report_and_keeps_its_log(
    store: Store, pipeline: Pipeline
) -> None:
    shared_run.report(store, pipeline, "r", "one", "running")
    shared_run.report(store, pipeline, "r", "one", "ran", key="k", log="a line\n")
    state = store.read_run("r")
    assert state is not None
    assert state["stages"]["one"]["status"] == "ran"
    assert store.backend.read("runs/r/logs/one.log") == b"a line\n"
    assert store.read_run("r", "spec.json") == pipeline.resolved()
