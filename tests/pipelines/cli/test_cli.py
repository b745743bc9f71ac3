"""The command line: every command explains itself, reports JSON, and ends with the code that it says."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import CHAIN, Sandbox
from typer.main import get_command
from typer.testing import CliRunner

from millrace.components import registry
from millrace.pipelines.cli import app

STAGES = {name: CHAIN[name] for name in ("read", "clean", "sort")}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, dict[str, Any], dict[str, Any]]:
    """A project whose pipeline ran twice, the second time with another setting."""
    sandbox = Sandbox(tmp_path_factory.mktemp("cli"))
    sandbox.write(STAGES)
    return sandbox, sandbox.run(), sandbox.run("--set", "stages.sort.with.add=#")


@pytest.mark.parametrize("path", list(commands(get_command(app))), ids=" ".join)
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    command = get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert all(
        option.help for option in command.params if option.param_type_name == "option" and not option.hidden
    )


def test_all_commands_of_the_design_are_there() -> None:
    found = {" ".join(path) for path in commands(get_command(app))}
    expected = [
        "run",
        "plan",
        "check",
        "schema",
        "compile",
        "init",
        "runs",
        "show",
        "logs",
        "diff",
        "adopt",
        "replay",
        "components",
        "models",
        "tensorboard",
        "chat",
        "serve",
        "run-stage",
    ]
    grouped = [
        "store ls",
        "store verify",
        "store gc",
        "store reindex",
        "trace doc",
        "trace text",
        "trace artifact",
    ]
    assert {*expected, *grouped} <= found


@pytest.mark.parametrize(
    "words", [("nothing",), ("run", "--nothing"), ("run", "--jobs", "0"), ("logs",), ("run", "a", "b")]
)
def test_a_usage_mistake_ends_with_two(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(words)).exit_code == 2


def test_the_version_is_the_distributions() -> None:
    import importlib.metadata

    assert CliRunner().invoke(app, ["--version"]).output.strip() == importlib.metadata.version("millrace")


@pytest.mark.parametrize(
    "words",
    [
        ("plan",), ("check",), ("runs",), ("show", "clean"), ("store", "ls"), ("store", "verify"), ("store", "reindex"),
        ("components",), ("components", "toy_step"), ("store", "gc", "--dry-run"), ("store", "ls", "--kind", "report"),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.usefixtures("toys")
def test_whatever_reports_does_so_in_json_and_in_text(
    done: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(done[0].folder)
    as_json, as_text = (CliRunner().invoke(app, [*words, *more]) for more in (["--json"], []))
    assert as_json.exit_code == as_text.exit_code == 0
    assert json.loads(as_json.stdout)
    assert not as_text.stdout.startswith("{")


def test_a_mistake_is_json_as_well(done: Any) -> None:
    sandbox = done[0]
    value = sandbox.json("run", "--set", "stages.nothing.with.a=1", code=2)
    assert value["exit_code"] == 2
    assert "the spec has no stages.nothing" in value["error"][0]
    assert "nothing" in sandbox.json("show", "nothing", code=1)["error"][0]


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


def test_diff_says_what_two_runs_do_differently(done: Any) -> None:
    sandbox, first, second = done
    stages = sandbox.json("diff", first["run"], second["run"])["stages"]
    assert stages == {"sort": ["config add '!' -> '#'", "output documents: other bytes"]}
    assert sandbox.call("diff", first["run"], first["run"]).stdout == "the same stages with the same keys\n"
    assert sandbox.call("diff", "1999", first["run"]).returncode == 1


def test_the_closing_table_and_the_plan_read_well(done: Any) -> None:
    sandbox = done[0]
    text = sandbox.call("run").stdout
    assert "3 reused" in text
    assert text.isascii() or "→" in text
    plan = sandbox.call("plan", "--set", "stages.clean.with.add=#").stdout
    assert "config add '+' -> '#'" in plan
    assert "2 to run, about" in plan


def test_check_reports_warnings_and_mistakes_of_profiles(sandbox: Sandbox) -> None:
    sandbox.write(STAGES, profiles={"big": {"stages": {"clean": {"with": {"secs": 1}}}}})
    done = sandbox.call("check")
    assert done.returncode == 2
    assert "with --profile big: unknown key 'secs'" in done.stderr
    assert sandbox.json("check", "--set", "seed=1") == {
        "ok": True, "stages": list(STAGES), "warnings": sandbox.json("check", "--set", "seed=1")["warnings"],
    }  # fmt: skip


def test_a_store_can_be_looked_at_without_a_spec(done: Any, tmp_path: Path) -> None:
    sandbox = done[0]
    assert sandbox.json("store", "ls", "--store", str(sandbox.store), cwd=tmp_path)["artifacts"]
    missing = sandbox.call("store", "ls", "--store", "nowhere", cwd=tmp_path)
    assert missing.returncode == 1
    assert "there is no store at nowhere; `millrace run` makes it" in missing.stderr


def test_without_a_spec_the_message_says_what_writes_one(done: Any, tmp_path: Path) -> None:
    result = done[0].call("run", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "millrace: pipeline.yaml: no such file; `millrace init` writes one\n"


def test_gc_frees_what_old_runs_made(sandbox: Sandbox) -> None:
    sandbox.write(STAGES)
    first = sandbox.run("--set", "stages.sort.with.add=one")["stages"]["sort"]["outputs"]["documents"]
    sandbox.run()
    freed = sandbox.json("store", "gc", "--keep-runs", "1")
    assert freed["artifacts"] == [first]
    assert set(sandbox.statuses().values()) == {"reused"}


def test_the_schema_is_json_and_names_every_component() -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema"]).output)
    assert schema["$defs"]["Stage"]["properties"]["uses"]["enum"] == list(registry.names())


def test_a_reader_that_goes_away_is_no_traceback(done: Any) -> None:
    sandbox = done[0]
    command = shlex.join(sandbox.command("show", "clean", "--json"))
    options: dict[str, Any] = {"cwd": sandbox.folder, "env": sandbox.environment, "capture_output": True}
    assert b"Traceback" not in subprocess.run(["sh", "-c", f"{command} | head -c 1"], **options).stderr
