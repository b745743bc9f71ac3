"""Commands that look after a store, and which store a command asks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.sandbox import LINE, Sandbox
from typer.testing import CliRunner

from millrace.pipelines.cli import app, stores
from millrace.pipelines.spec.source_map import SpecError


def test_a_store_can_be_looked_at_without_a_spec(done: Any, tmp_path: Path) -> None:
    sandbox = done[0]
    assert sandbox.json("store", "ls", "--store", str(sandbox.store), cwd=tmp_path)["artifacts"]
    missing = sandbox.call("store", "ls", "--store", "nowhere", cwd=tmp_path)
    assert missing.returncode == 1
    assert "there is no store at nowhere; `millrace run` makes it" in missing.stderr


def test_gc_frees_what_old_runs_made(sandbox: Sandbox) -> None:
    sandbox.write(LINE)
    first = sandbox.run("--set", "stages.sort.with.add=one")["stages"]["sort"]["outputs"]["documents"]
    sandbox.run()
    freed = sandbox.json("store", "gc", "--keep-runs", "1")
    assert freed["artifacts"] == [first]
    assert set(sandbox.statuses().values()) == {"reused"}


def test_verify_names_the_damage_and_ends_with_one(small_store: SimpleNamespace) -> None:
    store = small_store.store
    digest = small_store.digests["pretrain.model"]
    command = ["store", "verify", "--store", store.uri]
    assert CliRunner().invoke(app, command).output.endswith("artifacts read, all sound\n")
    file = store.folder(digest) / "weights.safetensors"
    file.chmod(0o644)
    file.write_bytes(b"other")
    damaged = CliRunner().invoke(app, command)
    assert (damaged.exit_code, "weights.safetensors is not what was written" in damaged.output) == (1, True)
    (damage,) = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)["damage"]
    assert digest in damage["path"]


def test_artifacts_are_listed_by_kind_with_who_made_them(small_store: SimpleNamespace) -> None:
    command = ["store", "ls", "--store", small_store.store.uri, "--kind", "decisions", "--json"]
    rows = json.loads(CliRunner().invoke(app, command).output)["artifacts"]
    assert [row["stage"] for row in rows] == ["decontaminate", "dedup", "filter", "ingest"]
    assert {(row["kind"], row["port"]) for row in rows} == {("decisions", "decisions")}


def test_a_question_needs_only_the_name_and_the_store_of_a_spec(
    small_store: SimpleNamespace, tmp_path: Path
) -> None:
    """A spec that was broken since still answers; a store that is named is asked about every pipeline."""
    spec = tmp_path / "pipeline.yaml"
    spec.write_text("name: mine\nstore: store\nstages: {a: {uses: a component that is gone}}\n")
    opened, pipeline = stores.open_store_of(spec, None)
    assert (opened.uri, pipeline) == (str(tmp_path / "store"), "mine")
    assert stores.open_store_of(spec, small_store.store.uri)[1] is None


@pytest.mark.parametrize("text", [None, "stages: {}", "- no mapping", "name: [a]"])
def test_a_spec_without_a_name_is_an_error_as_everywhere(tmp_path: Path, text: str | None) -> None:
    spec = tmp_path / "pipeline.yaml"
    if text is not None:
        spec.write_text(text)
    with pytest.raises(SpecError):
        stores.open_store_of(spec, None)
