"""The command that a container executes."""

from __future__ import annotations

import json

import pytest
from tests.sandbox import CHAIN, LINE, Sandbox
from typer.testing import CliRunner

from millrace.pipelines.cli import app


def test_stages_one_by_one_give_the_keys_and_bytes_of_a_run_which_then_reuses_them(sandbox: Sandbox) -> None:
    whole = sandbox.run()["stages"]
    store = f"file://{sandbox.folder}/objects"
    for name, stage in CHAIN.items():
        inputs = []
        for port, references in stage.get("inputs", {}).items():
            labelled = references.items() if isinstance(references, dict) else [("", references)]
            for label, reference in labelled:
                made = sandbox.folder / "made" / reference.replace(".", "/")
                inputs.append(f"--input={port}{'.' * bool(label)}{label}={made.read_text()}")
        call = (
            "--stage",
            name,
            "--store",
            store,
            "--job",
            "0f9c1b7e-aaaa",
            "--output-folder",
            f"made/{name}",
        )
        done = sandbox.call("run-stage", *call, *inputs)
        assert done.returncode == 0, done.stderr
        made = sandbox.folder / "made" / name
        assert (made / "stage_key").read_text() == whole[name]["key"]
        assert {port: (made / port).read_text() for port in whole[name]["outputs"]} == whole[name]["outputs"]
        assert json.loads((made / "metrics.json").read_text()) == whole[name]["metrics"]
    [run] = sandbox.json("runs", "--store", store)["runs"]
    assert run["status"] == "done"
    assert set(sandbox.statuses("--store", store).values()) == {"reused"}


def test_the_lines_of_a_stages_hosts_are_in_the_runs_log(sandbox: Sandbox) -> None:
    """As in a whole run, and on standard error."""
    sandbox.write({"gather": {"uses": "toy_hosts", "resources": {"hosts": 2}}})
    store = f"file://{sandbox.folder}/objects"
    done = sandbox.call("run-stage", "--stage", "gather", "--store", store)
    assert done.returncode == 0, done.stderr
    (log,) = (sandbox.folder / "objects" / "runs").rglob("gather.log")
    for text in (done.stderr, log.read_text()):
        assert [f"host {host} | " in text and f"this is host {host}" in text for host in range(2)] == [
            True,
            True,
        ]


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "documents"], "expected NAME=VALUE"),
        (["--input", "documents="], "expected NAME=VALUE"),
        (["--input", "a=1", "--input", "a=2"], "a is given twice"),
        (["--executor-input", "{"], "is not JSON"),
        (["--spec", "a.yaml", "--spec-json", "{}"], "expected one of them"),
    ],
)
def test_a_wrong_call_is_a_usage_error_that_names_the_option(words: list[str], message: str) -> None:
    spec = [] if "--spec" in words else ["--spec-json", json.dumps({"name": "a", "stages": LINE})]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["run-stage", "--stage", "read", *spec, *words])
    assert done.exit_code == 2
    assert message in done.output
