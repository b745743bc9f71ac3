"""The plan: exactly what depends on a change runs, and the reasons name the change."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sandbox import CHAIN, NAMES, TOYS

from millrace import components
from millrace.components import registry
from millrace.pipelines.plan.code_identity import CodeIndex
from millrace.pipelines.plan.plan import Planner
from millrace.pipelines.spec import models as spec
from millrace.pipelines.spec.graph import descendants, order
from millrace.pipelines.spec.source_map import parse
from millrace.pipelines.stages.execute import execute
from millrace.pipelines.stages.request import request_for
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store


@pytest.fixture(scope="module", autouse=True)
def toy_components() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "__path__", [*components.__path__, str(TOYS)])
        for name in NAMES:
            patch.setitem(registry.COMPONENTS, name, name)
        patch.setattr("os.fsync", lambda handle: None)
        yield


def planner(folder: Path, stages: Mapping[str, Any], **top: Any) -> Planner:
    source = parse(json.dumps({"name": "toy", "stages": stages, **top}), "f")
    pipeline = spec.resolve(source, folder)
    return Planner(pipeline, Store(pipeline.store_uri), CodeIndex(folder / "cache"))


def run(folder: Path, stages: Mapping[str, Any], **top: Any) -> dict[str, str]:
    """Runs a pipeline in this process, one stage after another; returns stage -> ran or reused."""
    planned = planner(folder, stages, **top)
    known: dict[str, StageRecord] = {}
    statuses: dict[str, str] = {}
    keys: dict[str, dict[str, str]] = {}
    number = len(planned.store.run_ids())
    for name in order(planned.pipeline.nodes):
        node = planned.pipeline.nodes[name]
        step = planned.step(node, known)
        statuses[name] = "reused"
        record = step.record
        if record is None:
            assert step.identity is not None
            request = request_for(planned.pipeline, planned.store, node, step.identity, "r")
            record, ran = execute(request, lambda event: None, logging.getLogger(name))
            statuses[name] = "ran" if ran else "reused"
        known[name] = record
        keys[name] = {"status": statuses[name], "key": record.key}
    state = {"pipeline": planned.pipeline.spec.name, "stages": keys}
    planned.store.write_run(f"2025-{number:04d}", "run.json", state)
    return statuses


def actions(folder: Path, stages: Mapping[str, Any], **top: Any) -> dict[str, str]:
    return {step.name: step.action for step in planner(folder, stages, **top).plan()}


def reasons(folder: Path, stages: Mapping[str, Any], stage: str, **top: Any) -> list[str]:
    return list(next(step.reasons for step in planner(folder, stages, **top).plan() if step.name == stage))


def changed(stage: str, **config: Any) -> dict[str, Any]:
    return {**CHAIN, stage: {**CHAIN[stage], "with": {**CHAIN[stage].get("with", {}), **config}}}


EDGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10)


@settings(max_examples=25, deadline=None)
@given(EDGES, st.integers(0, 5), st.booleans())
def test_a_change_reruns_the_stage_and_all_below_it_unless_the_bytes_come_out_the_same(
    edges: list[tuple[int, int]], target: int, same_bytes: bool
) -> None:
    upstream = {n: sorted({a for a, b in edges if b == n and a < n}) for n in range(6)}
    stages: dict[str, Any] = {}
    for number, needed in upstream.items():
        name = f"s{number}"
        if needed:
            inputs = {"documents": f"s{needed[0]}.documents"}
            stages[name] = {"uses": "toy_step", "inputs": inputs, "with": {"add": str(number)}}
        else:
            stages[name] = {"uses": "toy_source", "with": {"text": str(number)}}
    below = descendants(
        spec.resolve(parse(json.dumps({"name": "a", "stages": stages}), "f"), Path()).nodes, f"s{target}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, stages)
        assert set(actions(folder, stages).values()) == {"reuse"}
        field = {"note": "x"} if upstream[target] else {"parts": 1, "text": str(target)}
        if not same_bytes:
            field = {"add": "new"} if upstream[target] else {"text": "new"}
        new = {
            **stages,
            f"s{target}": {**stages[f"s{target}"], "with": {**stages[f"s{target}"]["with"], **field}},
        }
        really = (
            same_bytes and not upstream[target]
        )  # nothing of a source's configuration leaves its bytes alone
        expected = set() if really else {f"s{target}", *below}
        assert {stage for stage, action in actions(folder, new).items() if action == "run"} == expected
        expected = set() if really else {f"s{target}"} if same_bytes else expected
        assert {stage for stage, status in run(folder, new).items() if status == "ran"} == expected


def test_nothing_in_the_store_runs_everything_and_says_so(tmp_path: Path) -> None:
    steps = planner(tmp_path, CHAIN).plan()
    assert [step.name for step in steps] == order(planner(tmp_path, CHAIN).pipeline.nodes)
    assert steps[0].reasons == ("never run in this store",)
    assert steps[1].reasons == ("documents comes from read, which runs",)
    assert steps[0].estimate_seconds is None


@pytest.mark.parametrize(
    ("stages", "stage", "expected"),
    [
        (changed("clean", note="x"), "clean", ["config note '' -> 'x'"]),
        (changed("clean", note="x"), "sort", ["documents comes from clean, which runs"]),
        (changed("clean", note="x"), "pack", ["text comes from sort, which runs", "gate comes from gate, which runs"]),
        ({**CHAIN, "other": CHAIN["sort"]}, "other", ["config add '?' -> '!'", "documents comes from clean"]),
        ({**CHAIN, "sort": {**CHAIN["sort"], "inputs": {"documents": "read.documents"}}}, "sort", ["input documents "]),
    ],
)  # fmt: skip
def test_reasons_name_the_change(
    tmp_path: Path, stages: dict[str, Any], stage: str, expected: list[str]
) -> None:
    run(tmp_path, CHAIN)
    found = reasons(tmp_path, stages, stage)
    if stage == "other":  # the same key as sort: nothing to run
        assert found == []
        return
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_fields_that_cannot_change_bytes_rerun_nothing(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    assert set(actions(tmp_path, changed("clean", seconds=3.0, checkpoints=5)).values()) == {"reuse"}


def test_the_seed_reruns_everything_and_resources_nothing(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    assert reasons(tmp_path, CHAIN, "read", seed=1) == ["seed 0 -> 1"]
    assert set(actions(tmp_path, CHAIN, seed=1).values()) == {"run"}
    heavy = {name: {**stage, "resources": {"retries": 3, "memory": "4Gi"}} for name, stage in CHAIN.items()}
    assert set(actions(tmp_path, heavy).values()) == {"reuse"}


def test_the_order_of_stages_does_not_count_and_the_order_of_labels_does(tmp_path: Path) -> None:
    stages = {
        name: stage for name, stage in CHAIN.items() if name != "pack"
    }  # its card follows the file's order
    run(tmp_path, stages)
    assert set(actions(tmp_path, dict(reversed(stages.items()))).values()) == {"reuse"}
    texts = {"right": "other.documents", "left": "sort.documents"}
    swapped = {**stages, "measure": {**stages["measure"], "inputs": {"texts": texts}}}
    assert [name for name, action in actions(tmp_path, swapped).items() if action == "run"] == [
        "measure",
        "gate",
    ]


def test_a_stage_may_be_renamed_and_keeps_its_outputs(tmp_path: Path) -> None:
    run(tmp_path, {"a": CHAIN["read"]})
    assert actions(tmp_path, {"b": CHAIN["read"]}) == {"b": "reuse"}


def test_a_component_that_reads_the_lineage_reruns_when_a_record_upstream_changes(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    statuses = run(tmp_path, changed("other", note="x"))
    assert {name for name, status in statuses.items() if status == "ran"} == {"other", "pack"}
    cards = (tmp_path / ".millrace").glob("artifacts/*/*/MODEL_CARD.md")
    assert sorted(json.loads(card.read_text())["other"]["note"] for card in cards) == ["", "x"]


def test_data_outside_the_store_reruns_when_it_changes(tmp_path: Path) -> None:
    stages = {"read": {"uses": "toy_source", "with": {"file": "in.txt"}}}
    (tmp_path / "in.txt").write_text("one")
    os.utime(tmp_path / "in.txt", (1, 1))
    run_in(tmp_path, stages)
    assert actions(tmp_path, stages) == {"read": "reuse"}
    os.utime(tmp_path / "in.txt", (2, 2))
    (line,) = reasons(tmp_path, stages, "read")
    assert line.startswith("outside data [2] ")


def run_in(folder: Path, stages: Mapping[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(folder, stages)


@pytest.mark.parametrize("lost", ["artifact", "record"])
def test_what_was_lost_runs_again_and_what_follows_is_reused(tmp_path: Path, lost: str) -> None:
    run(tmp_path, CHAIN)
    store = planner(tmp_path, CHAIN).store
    (step,) = (step for step in planner(tmp_path, CHAIN).plan() if step.name == "sort")
    assert step.record is not None
    digest = step.record.outputs["documents"]["digest"]
    store.backend.remove(
        f"artifacts/{digest[:2]}/{digest}" if lost == "artifact" else f"stages/{step.record.key}.json"
    )
    assert actions(tmp_path, CHAIN)["sort"] == "run"
    assert {name for name, status in run(tmp_path, CHAIN).items() if status == "ran"} == {"sort"}
    if lost == "artifact":
        assert store.has(digest)


def test_the_estimate_is_the_time_of_the_last_run(tmp_path: Path) -> None:
    run(tmp_path, CHAIN)
    steps = {step.name: step for step in planner(tmp_path, changed("sort", add="#")).plan()}
    assert steps["clean"].estimate_seconds is None
    assert steps["sort"].estimate_seconds is not None
    assert steps["sort"].previous is not None
    assert steps["sort"].estimate_seconds == steps["sort"].previous.seconds
