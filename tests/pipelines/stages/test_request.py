"""The request of a stage: everything that running it takes, through JSON and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import CHAIN

from millrace.pipelines.plan.code_identity import CodeIndex
from millrace.pipelines.plan.identity import identify
from millrace.pipelines.spec.models import resolve
from millrace.pipelines.spec.source_map import Source
from millrace.pipelines.stages.request import Request, request_for, to_json
from millrace.pipelines.store.store import Store

pytestmark = pytest.mark.usefixtures("toys")
DIGESTS = {"left": "a" * 64, "right": "b" * 64}


def request(tmp_path: Path, stage: str, inputs: dict[str, Any], **changes: Any) -> Request:
    spec = {"name": "toy", "seed": 5, "stages": {**CHAIN, stage: {**CHAIN[stage], **changes}}}
    spec["beam"] = {"runner": "FlinkRunner", "options": {"parallelism": 2}}
    pipeline = resolve(Source(spec), tmp_path)
    node = pipeline.nodes[stage]
    identity = identify(node, 5, inputs, (), CodeIndex(tmp_path / "cache"))
    return request_for(pipeline, Store(pipeline.store_uri), node, identity, "r")


def test_inputs_name_the_stage_and_the_digest_of_each_port_and_label(tmp_path: Path) -> None:
    made = request(tmp_path, "measure", {"texts": DIGESTS})
    assert made.inputs == {
        "texts": {
            "left": {"stage": "sort", "digest": "a" * 64},
            "right": {"stage": "other", "digest": "b" * 64},
        }
    }
    assert made.input_digests() == {"texts": DIGESTS}
    one = request(tmp_path, "clean", {"documents": "c" * 64})
    assert one.input_digests() == {"documents": "c" * 64}
    assert one.inputs["documents"]["stage"] == "read"


def test_a_request_survives_json(tmp_path: Path) -> None:
    made = request(tmp_path, "measure", {"texts": DIGESTS}, resources={"hosts": 3, "retries": 2})
    assert Request(**json.loads(json.dumps(to_json(made)))) == made
    assert (made.hosts, made.retries, made.seed, made.pipeline) == (3, 2, 5, "toy")


def test_runtime_fields_are_in_the_configuration_and_not_in_what_counts(tmp_path: Path) -> None:
    made = request(tmp_path, "clean", {"documents": "c" * 64}, **{"with": {"seconds": 1.5, "add": "x"}})
    assert (made.config["seconds"], made.config["add"]) == (1.5, "x")
    assert made.semantic == {"add": "x", "note": ""}


@pytest.mark.parametrize(
    ("beam", "expected"),
    [
        (None, ("FlinkRunner", {"parallelism": 2})),
        ({"runner": "SparkRunner"}, ("SparkRunner", {})),
        ({}, (None, {})),
    ],
)
def test_a_stages_own_beam_section_replaces_that_of_the_spec(
    tmp_path: Path, beam: dict[str, Any] | None, expected: tuple[str | None, dict[str, Any]]
) -> None:
    made = request(tmp_path, "clean", {"documents": "c" * 64}, **({} if beam is None else {"beam": beam}))
    assert (made.beam_runner, made.beam_options) == expected
