"""One stage as a container runs it: the same keys and bytes as a whole run, and clear answers to a wrong call."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from millrace.components import registry
from millrace.components.contract import (
    Component,
    ComponentError,
    Config,
    Context,
    GateClosed,
    Inputs,
    Port,
)
from millrace.pipelines.engines import run_stage as stages
from millrace.pipelines.engines.run_stage import StageCall
from millrace.pipelines.plan.plan import Planner
from millrace.pipelines.spec.models import Pipeline
from millrace.pipelines.spec.source_map import SpecError
from millrace.pipelines.store.store import Store


class _Plain(Config):
    words: str = "one"


def _make(context: Context, config: _Plain, inputs: Inputs) -> None:
    (context.output("documents") / "text").write_text(config.words)
    context.metric("documents_out", len(config.words))


def _judge(context: Context, config: _Plain, inputs: Inputs) -> None:
    if config.words != "one":
        raise GateClosed("got other words, expected one")
    labels = ",".join(inputs.many("reports"))
    (context.output("report") / "report.md").write_text(f"All is well with {labels}.")


def _card(context: Context, config: _Plain, inputs: Inputs) -> None:
    names = [f"{record.stage} {record.metrics}" for record in context.lineage]
    (context.output("package") / "card").write_text("\n".join(names))


TOYS = {
    "make": Component("make", "Make.", _Plain, {"documents": Port("documents", "")}, f"{__name__}:_make"),
    "judge": Component(
        name="judge",
        summary="Judge.",
        config=_Plain,
        inputs={"reports": Port("documents", "", many=True)},
        outputs={"report": Port("report", "")},
        run=f"{__name__}:_judge",
        gate=True,
    ),
    "card": Component(
        name="card",
        summary="Describe.",
        config=_Plain,
        inputs={"gate": Port("report", "")},
        outputs={"package": Port("package", "")},
        run=f"{__name__}:_card",
        reads_lineage=True,
    ),
}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Pipeline]:
    """Makes the pipeline of two toys, a gate over both and a card that reads lineage."""
    monkeypatch.setattr(registry, "COMPONENTS", {name: name for name in TOYS})
    monkeypatch.setattr(registry, "get", TOYS.__getitem__)

    def pipeline(words: str = "one", **resources: Any) -> Pipeline:
        spec = {
            "name": "toys",
            "stages": {
                "left": {"uses": "make", "resources": resources},
                "right": {"uses": "make", "with": {"words": "two"}},
                "judge": {
                    "uses": "judge",
                    "with": {"words": words},
                    "inputs": {"reports": {"l": "left.documents", "r": "right.documents"}},
                },
                "card": {"uses": "card", "inputs": {"gate": "judge.report"}},
            },
        }
        return stages.from_json(json.dumps(spec), str(tmp_path / "store"))

    return pipeline


def run_all(pipeline: Pipeline, job: str = "job") -> dict[str, Any]:
    left, right = (stages.run_stage(pipeline, StageCall(name, job=job))[0] for name in ("left", "right"))
    reports = {
        f"reports.{label}": r.outputs["documents"]["digest"] for label, r in (("l", left), ("r", right))
    }
    judge, _ = stages.run_stage(pipeline, StageCall("judge", reports, job=job))
    return {"left": left, "right": right, "judge": judge}


def test_lineage_is_the_same_from_given_keys_from_the_store_and_in_a_plan(
    toys: Callable[..., Pipeline],
) -> None:
    pipeline = toys()
    records = run_all(pipeline)
    call = StageCall("card", {"gate": records["judge"].outputs["report"]["digest"]}, job="job")
    given, ran = stages.run_stage(
        pipeline, replace(call, upstream={name: record.key for name, record in records.items()})
    )
    found, ran_again = stages.run_stage(pipeline, call)
    planned = Planner(pipeline, Store(pipeline.store_uri)).plan()
    assert (ran, ran_again, found.key) == (True, False, given.key)
    assert [step.action for step in planned] == ["reuse"] * 4
    assert planned[-1].identity is not None
    assert planned[-1].identity.key == given.key


def test_a_closed_gate_is_raised_and_closes_the_run(toys: Callable[..., Pipeline]) -> None:
    pipeline = toys("other")
    with pytest.raises(GateClosed, match="other words"):
        run_all(pipeline)
    store = Store(pipeline.store_uri)
    [run] = store.run_ids()
    state = store.read_run(run)
    assert state is not None
    assert (state["status"], state["stages"]["judge"]["status"]) == ("closed", "closed")
    assert "other words" in (store.run_folder(run) / "logs" / "judge.log").read_text()


def test_every_mistake_of_a_call_is_told_at_once(toys: Callable[..., Pipeline]) -> None:
    call = StageCall("judge", {"reports.l": "abc", "report.r": "0" * 64})
    with pytest.raises(SpecError) as caught:
        stages.run_stage(toys(), call)
    text = str(caught.value)
    assert "got 'abc', expected 64 hexadecimal digits" in text
    assert "reports.r: is missing, expected the digest of right.documents" in text
    assert "did you mean 'reports.r'?" in text


def test_an_input_that_the_store_does_not_have_is_named(toys: Callable[..., Pipeline]) -> None:
    call = StageCall("judge", {"reports.l": "0" * 64, "reports.r": "1" * 64})
    with pytest.raises(ComponentError, match="no artifact 000000000000 that left made"):
        stages.run_stage(toys(), call)


def test_a_card_without_the_records_upstream_says_which_to_run(toys: Callable[..., Pipeline]) -> None:
    with pytest.raises(ComponentError, match="run left first"):
        stages.run_stage(toys(), StageCall("card", {"gate": "0" * 64}))


def test_the_summary_shows_metrics_digests_and_the_reports_text(
    toys: Callable[..., Pipeline], tmp_path: Path
) -> None:
    pipeline = toys()
    left = run_all(pipeline)["left"]
    files = {name: tmp_path / "out" / name for name in ("stage_summary", "stage_metrics", "report")}
    reports = {
        "reports.l": left.outputs["documents"]["digest"],
        "reports.r": left.outputs["documents"]["digest"],
    }
    stages.run_stage(pipeline, StageCall("judge", reports, files=files))
    page = files["stage_summary"].read_text()
    assert "All is well with l,r." in page
    assert files["report"].read_text() in page


def test_metrics_reach_kubeflow_as_metadata_of_the_metrics_artifact(
    toys: Callable[..., Pipeline], tmp_path: Path
) -> None:
    artifact = {"name": "m", "type": {"schemaTitle": "system.Metrics"}, "uri": "minio://m"}
    executor_input = {
        "outputs": {
            "artifacts": {"stage_metrics": {"artifacts": [artifact]}},
            "outputFile": str(tmp_path / "deep" / "output.json"),
        }
    }
    stages.run_stage(toys(), StageCall("left", executor_input=executor_input))
    written = json.loads((tmp_path / "deep" / "output.json").read_text())
    [shown] = written["artifacts"]["stage_metrics"]["artifacts"]
    assert shown == {**artifact, "metadata": {"documents_out": 3.0}}


def test_a_stage_that_takes_too_long_ends_its_process(
    toys: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(stages.os, "_exit", end)

    def slow(context: Context, config: _Plain, inputs: Inputs) -> None:
        ended.wait(20)
        _make(context, config, inputs)

    monkeypatch.setattr(registry, "run_of", lambda component: slow)
    stages.run_stage(toys(timeout="1s"), StageCall("left"))
    assert codes == [1]


def test_text_that_is_not_json_or_not_a_spec_is_refused() -> None:
    for text, message in (("{", "not JSON"), ("[]", "dictionary"), ('{"name": "x"}', "stages: is missing")):
        with pytest.raises(SpecError, match=message):
            stages.from_json(text, None)
