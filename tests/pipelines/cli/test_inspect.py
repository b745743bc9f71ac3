"""Commands that show what happened and what there is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from millrace.model.network.presets import PRESETS
from millrace.pipelines.cli import app, inspect


def test_runs_lists_what_happened(done: Any) -> None:
    sandbox, first, second = done
    rows = {row["id"]: row for row in sandbox.json("runs")["runs"]}
    assert [rows[run["run"]]["status"] for run in (first, second)] == ["done", "done"]
    assert "2 reused" in next(
        line for line in sandbox.call("runs").stdout.splitlines() if second["run"] in line
    )


def test_show_finds_runs_stages_and_artifacts_by_their_first_digits(done: Any) -> None:
    sandbox, first, second = done
    assert sandbox.json("show", first["run"])["id"] == first["run"]
    assert sandbox.json("show", "sort")["config"]["add"] == "#"
    digest = second["stages"]["sort"]["outputs"]["documents"]
    artifact = sandbox.json("show", digest[:10])
    assert artifact["digest"] == digest
    assert (Path(artifact["folder"]) / "part-0.txt").read_text() == "text+#"
    assert "modules" not in sandbox.call("show", "sort").stdout


def test_logs_prints_the_newest_log_of_a_stage(done: Any) -> None:
    sandbox, first, second = done
    assert sandbox.call("logs", "sort").stdout.startswith(f"# run {second['run']}\n")
    assert sandbox.call("logs", "clean").stdout.startswith(f"# run {first['run']}\n")
    assert "attempt 1" in sandbox.call("logs", "sort", "--run", first["run"]).stdout
    assert sandbox.call("logs", "nothing").returncode == 1


def test_a_stage_is_that_of_the_specs_own_pipeline(
    small_store: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another pipeline that shares the store ran a stage of the same name later."""
    store = small_store.store
    for number, name in ((1, "mine"), (2, "other")):
        run = f"2025020{number}-000000-aaaa"
        small_store.builder.stage(
            "sort", "export", {"report": ("report", lambda folder: (folder / "a").touch())}, run=run
        )
        small_store.builder.run(run, pipeline=name)
        store.backend.write(f"runs/{run}/logs/sort.log", b"said")
    for name in ("mine", "other"):
        spec = tmp_path / f"{name}.yaml"
        spec.write_text(f"name: {name}\nstore: {store.uri}\n")
        inspect.logs("sort", spec)
        inspect.show("sort", spec, as_json=True)
        first, said, record = capsys.readouterr().out.splitlines()
        run = first.removeprefix("# run ")
        assert said == "said"
        assert store.read_run(run)["pipeline"] == name
        assert json.loads(record)["run"] == run


def test_diff_says_what_two_runs_do_differently(done: Any) -> None:
    sandbox, first, second = done
    stages = sandbox.json("diff", first["run"], second["run"])["stages"]
    assert stages == {"sort": ["config add '!' -> '#'", "output documents: other bytes"]}
    assert sandbox.call("diff", first["run"], first["run"]).stdout == "the same stages with the same keys\n"
    assert sandbox.call("diff", "1999", first["run"]).returncode == 1


def test_the_table_is_computed_from_the_presets() -> None:
    """Every preset is listed with its own counts; the vocabulary and the devices asked for enter them."""
    result = CliRunner().invoke(app, ["models", "--vocab-size", "1000", "--devices", "4", "--json"])
    rows = {row["preset"]: row for row in json.loads(result.output)["models"]}
    assert list(rows) == list(PRESETS)
    base = rows["base"]
    preset = PRESETS["base"]
    assert base["parameters"] == preset.parameter_count() - (preset.vocab_size - 1000) * preset.model_size
    assert abs(base["memory_bytes"]["state"] - 3 * base["parameters"]) < 100


def test_a_wrong_type_is_a_usage_error() -> None:
    """It says what was got and what there is, with the code of a usage error."""
    result = CliRunner().invoke(app, ["models", "--compute-dtype", "int8"])
    assert result.exit_code == 2
    assert "int8" in result.output
    assert "bfloat16" in result.output
