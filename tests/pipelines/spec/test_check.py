"""Graph checks: what a spec can get wrong beyond its single values."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sandbox import CHAIN

from millrace.pipelines.spec import check
from millrace.pipelines.spec import models as spec
from millrace.pipelines.spec.source_map import SpecError, parse

pytestmark = pytest.mark.usefixtures("toys")
SOURCE = {"uses": "toy_source"}


def step(reference: Any, **more: Any) -> dict[str, Any]:
    return {"uses": "toy_step", "inputs": {"documents": reference}, **more}


def findings(stages: dict[str, Any]) -> list[str]:
    source = parse(json.dumps({"name": "a", "stages": stages}, indent=0), "f")
    _, graph, mistakes = spec.understand(source)
    return [f"{mistake.path}: {mistake.message}" for mistake in [*mistakes, *check.errors(graph)]]


def warnings(stages: dict[str, Any]) -> list[str]:
    source = parse(json.dumps({"name": "a", "stages": stages}), "f")
    return [mistake.message for mistake in check.warnings(spec.resolve(source, Path()))]


def test_the_chain_is_right() -> None:
    assert findings(CHAIN) == []
    assert warnings(CHAIN) == []


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ({"a": SOURCE, "b": step("c.documents")}, "stages.b.inputs.documents: got 'c', expected a stage of this spec"),
        ({"read": SOURCE, "b": step("raed.documents")}, "got 'raed', .*did you mean 'read'?"),
        ({"a": SOURCE, "b": step("a.document")}, "a has no output 'document'; did you mean 'documents'?"),
        ({"a": SOURCE, "b": step("a")}, "a has no output ''"),
        ({"a": SOURCE, "b": {"uses": "toy_step"}}, "stages.b: the input 'documents' is missing, .* for example a.docu"),
        ({"a": SOURCE, "b": step({"x": "a.documents"})}, "got a mapping, expected one reference"),
        ({"a": SOURCE, "b": {"uses": "toy_report", "inputs": {"texts": "a.documents"}}}, "expected a mapping"),
        ({"a": SOURCE, "b": {"uses": "toy_gate", "inputs": {"reports": {}}}}, "the input 'reports' is missing"),
        (
            {"a": SOURCE, "b": {"uses": "toy_gate", "inputs": {"reports": {"x": "a.documents"}}}},
            "stages.b.inputs.reports.x: a.documents is of kind documents, expected report",
        ),
        ({"a": step("a.documents")}, "stages.a: stages need each other in a cycle: a -> a"),
        ({"a": step("c.documents"), "b": step("a.documents"), "c": step("b.documents")}, "a -> c -> b -> a"),
        (
            {"a": SOURCE | {"resources": {"hosts": 2}}},
            r"stages.a.resources.hosts: got 2, expected 1: toy_source runs on one host \(several: pretrain, sft, reward, rlhf, toy_hosts\)",
        ),
    ],
)  # fmt: skip
def test_each_rule_names_the_place_and_the_remedy(stages: dict[str, Any], expected: str) -> None:
    (line,) = findings(stages)
    assert re.search(expected, line)


def test_a_stage_with_mistakes_of_its_own_does_not_hide_those_of_others_or_cause_new_ones() -> None:
    stages = {"a": {"uses": "nothing"}, "b": step("a.documents"), "c": step("x.documents")}
    assert [line.split(":")[0] for line in findings(stages)] == ["stages.a.uses", "stages.c.inputs.documents"]


def test_a_cycle_is_reported_once_beside_other_mistakes() -> None:
    stages = {"a": step("b.documents"), "b": step("a.documents"), "c": step("d.documents")}
    assert ["cycle" in line for line in findings(stages)] == [False, True]


def test_an_output_that_nothing_uses_and_a_package_with_no_gate_are_warned_of() -> None:
    stages = {**CHAIN, "pack": {"uses": "toy_package", "inputs": {"text": "sort.documents"}}, "lost": SOURCE}
    gate, lost = sorted(warnings(stages))
    assert "makes a package with no gate upstream" in gate
    assert "nothing uses its outputs (documents)" in lost


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_a_cycle_is_found_if_and_only_if_the_graph_has_no_order(edges: list[tuple[int, int]]) -> None:
    stages: dict[str, Any] = {f"s{n}": {"uses": "toy_report", "inputs": {"texts": {}}} for n in range(8)}
    upstream = {n: {a for a, b in edges if b == n} for n in range(8)}
    for number, needed in upstream.items():
        stages[f"s{number}"]["inputs"] = {"texts": {f"l{n}": f"s{n}.report" for n in sorted(needed)}}
    done: set[int] = set()
    while ready := {n for n in range(8) if n not in done and upstream[n] <= done}:
        done |= ready
    assert any("cycle" in line for line in findings(stages)) == (len(done) < 8)


def test_every_profile_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    profiles = {"good": {"seed": 1}, "bad": {"seed": -1}}
    file.write_text(json.dumps({"name": "a", "stages": {"a": SOURCE}, "profiles": profiles}))
    mistakes = list(check.profiles(check.load(file), file))
    assert [mistake.message for mistake in mistakes] == [
        "with --profile bad: got -1, expected greater than or equal to 0"
    ]
    with pytest.raises(SpecError):
        check.load(file, profile="bad")
