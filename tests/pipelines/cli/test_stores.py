"""Commands that look after a store."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.sandbox import LINE, Sandbox
from typer.testing import CliRunner

from millrace.pipelines.cli import app


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
