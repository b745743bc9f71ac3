"""The command line: every command explains itself, reports JSON, and ends with the code that it says."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from millrace.pipelines.cli import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(get_command(app))), ids=" ".join)
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    command = get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert command.help
    options: list[Any] = [one for one in command.params if one.param_type_name == "option"]
    assert all(option.help for option in options if not option.hidden)


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


def test_a_reader_that_goes_away_is_no_traceback(done: Any) -> None:
    sandbox = done[0]
    command = shlex.join(sandbox.command("show", "clean", "--json"))
    options: dict[str, Any] = {"cwd": sandbox.folder, "env": sandbox.environment, "capture_output": True}
    assert b"Traceback" not in subprocess.run(["sh", "-c", f"{command} | head -c 1"], **options).stderr
