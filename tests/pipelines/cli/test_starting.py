"""The command that writes a first spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millrace.pipelines.cli import app
from millrace.pipelines.spec import check, init


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"number {n}: " + "the mill and its wheel turn with water " * 12} for n in range(200)]
    Path("notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = Path("pipeline.yaml")
    spec.write_text("mine")
    command = ["init", "--documents", "notes.jsonl"]
    refused = CliRunner().invoke(app, command)
    assert "--force overwrites it" in str(refused.exception)
    assert spec.read_text() == "mine"
    forced = CliRunner().invoke(app, [*command, "--force"])
    assert "200 documents" in forced.output
    assert forced.output.endswith("wrote pipeline.yaml; next: millrace check, then millrace run\n")
    check.load(spec)


def test_without_documents_it_is_the_reference_spec(tmp_path: Path) -> None:
    spec = tmp_path / "first.yaml"
    done = CliRunner().invoke(app, ["init", "--output", str(spec)])
    assert (done.exit_code, spec.read_text()) == (0, init.reference_spec())
    assert f"next: millrace check {spec}, then millrace run {spec}" in done.output


def test_questions_without_documents_are_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["init", "-b", "eval.jsonl", "-o", str(tmp_path / "a.yaml")])
    assert done.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="whose folder is not there; make it first"):
        CliRunner().invoke(app, ["init", "-o", str(tmp_path / "no" / "a.yaml")], catch_exceptions=False)
