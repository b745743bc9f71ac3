"""The run that questions are about."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run, open_run


def test_a_store_without_runs_says_so(builder: SimpleNamespace) -> None:
    with (
        pytest.raises(TraceError, match="no finished stage of the pipeline 'mine'"),
        open_run(builder.store, pipeline="mine"),
    ):
        pass


def test_the_newest_run_of_the_pipeline_with_a_finished_stage_is_opened(small_store: SimpleNamespace) -> None:
    builder, keys = small_store.builder, dict(small_store.builder.keys)
    builder.run("20250201-000000-bbbb", pipeline="other")
    builder.keys = {}
    builder.run("20250301-000000-cccc", status="failed")
    builder.keys = keys
    with open_run(small_store.store) as newest, open_run(small_store.store, pipeline="small") as own:
        assert (newest.run, own.run) == ("20250201-000000-bbbb", "20250101-000000-aaaa")


@pytest.mark.parametrize(("prefix", "count"), [("2025", 2), ("1999", 0)])
def test_the_beginning_of_an_id_must_fit_one_run(
    small_store: SimpleNamespace, prefix: str, count: int
) -> None:
    small_store.builder.run("20250201-000000-bbbb")
    with (
        pytest.raises(TraceError, match=f"matches {count} runs .*; newest: 20250201-000000-bbbb, 20250101"),
        open_run(small_store.store, run=prefix),
    ):
        pass


def test_a_run_knows_what_its_stages_took_and_made(run: Run, small_store: SimpleNamespace) -> None:
    digests = small_store.digests
    stage = next(stage for stage in run.stages if stage.stage == "decontaminate")
    assert run.inputs(stage) == {
        "documents": (digests["dedup.documents"], "documents"),
        "benchmarks": (digests["benchmarks.benchmarks"], "benchmarks"),
    }
    assert run.artifacts("tokens") == [digests["tokenize.tokens"]]
    assert run.artifacts("decisions")[0] == digests["ingest.decisions"]
