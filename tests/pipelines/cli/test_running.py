"""Commands that plan and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import CHAIN, LINE, Sandbox
from typer.testing import CliRunner

from millrace.components import registry
from millrace.pipelines.cli import app, running
from millrace.pipelines.spec.models import resolve
from millrace.pipelines.spec.source_map import Source, SpecError


def test_the_closing_table_and_the_plan_read_well(done: Any) -> None:
    sandbox = done[0]
    text = sandbox.call("run", "--set", "stages.sort.with.add=#").stdout
    assert "3 reused" in text
    assert text.isascii() or "→" in text
    plan = sandbox.call("plan", "--set", "stages.clean.with.add=#").stdout
    assert "config add '+' -> '#'" in plan
    assert "2 to run, about" in plan


def test_check_reports_warnings_and_mistakes_of_profiles(sandbox: Sandbox) -> None:
    sandbox.write(LINE, profiles={"big": {"stages": {"clean": {"with": {"secs": 1}}}}})
    done = sandbox.call("check")
    assert done.returncode == 2
    assert "with --profile big: unknown key 'secs'" in done.stderr
    assert sandbox.json("check", "--set", "seed=1") == {
        "ok": True, "stages": list(LINE), "warnings": sandbox.json("check", "--set", "seed=1")["warnings"],
    }  # fmt: skip


def test_without_a_spec_the_message_says_what_writes_one(done: Any, tmp_path: Path) -> None:
    result = done[0].call("run", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "millrace: pipeline.yaml: no such file; `millrace init` writes one\n"


def test_the_schema_is_json_and_names_every_component() -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).output)
    assert schema["$defs"]["Stage"]["properties"]["uses"]["enum"] == list(registry.names())


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("only", "from_", "until", "selected"),
    [
        (None, None, None, None),
        (["sort", "read"], None, None, {"sort", "read"}),
        (None, "measure", None, {"measure", "gate", "pack"}),
        (None, None, "sort", {"read", "clean", "sort"}),
        (None, "clean", "measure", {"clean", "sort", "measure"}),
        (["read", "sort"], "clean", None, {"sort"}),
    ],
)
def test_the_options_select_the_stages_between_them(
    only: list[str] | None, from_: str | None, until: str | None, selected: set[str] | None
) -> None:
    pipeline = resolve(Source({"name": "toy", "stages": CHAIN}), Path())
    assert running._selection(pipeline, only, from_, until) == selected
    with pytest.raises(SpecError, match="--until: the spec has no stage 'srot'; did you mean 'sort'"):
        running._selection(pipeline, only, from_, "srot")
