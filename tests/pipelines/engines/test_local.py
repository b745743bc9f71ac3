"""The local engine, as a user meets it: processes that are reused, retried, timed out, interrupted and killed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import Sandbox, descendants, found, wait_until

READ = {"uses": "toy_source"}
GATE = {"uses": "toy_gate", "inputs": {"reports": {"size": "lengths.report"}}}
PACK = {"uses": "toy_package", "inputs": {"text": "sort.documents", "gate": "gate.report"}}
LENGTHS = {"uses": "toy_report", "inputs": {"texts": {"left": "sort.documents"}}}


def step(
    reference: str = "read.documents", resources: dict[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    return {
        "uses": "toy_step",
        "inputs": {"documents": reference},
        "with": config,
        "resources": resources or {},
    }


def test_the_run_does_exactly_what_the_plan_said_and_stops_where_the_bytes_are_the_same(
    sandbox: Sandbox,
) -> None:
    assert set(sandbox.statuses().values()) == {"ran"}
    change = ("--set", "stages.sort.with.add=#")
    planned = {name for name, step in sandbox.plan(*change).items() if step["action"] == "run"}
    assert planned == {"sort", "measure", "gate", "pack"}
    done = sandbox.run(*change)["stages"]
    # The text has other bytes and the same length, so the report comes out as before.
    assert {name for name, stage in done.items() if stage["status"] == "ran"} == {"sort", "measure", "pack"}
    assert done["measure"]["reasons"] == [
        "input texts.left " + done["measure"]["reasons"][0].partition("left ")[2]
    ]
    assert set(sandbox.statuses(*change).values()) == set(sandbox.statuses().values()) == {"reused"}


def test_a_comment_reruns_nothing_and_a_function_reruns_its_stages_only(sandbox: Sandbox) -> None:
    sandbox.write(
        {"read": READ, "clean": step(), "sort": step("clean.documents", add="!"), "lengths": LENGTHS}
    )
    sandbox.run()
    sandbox.edit("toy_step", "return text + more", "return text + more  # both")
    sandbox.edit("toy_step", '"""The text with more after it."""', '"""Both."""')
    assert set(sandbox.statuses().values()) == {"reused"}
    sandbox.edit("toy_step", "return text + more", 'return "".join([text, more])')
    assert sandbox.plan()["clean"]["reasons"] == ["code components/toy_step.py: function added changed"]
    statuses = sandbox.statuses()
    assert statuses == {"read": "reused", "clean": "ran", "sort": "ran", "lengths": "reused"}


def test_a_closed_gate_ends_with_three_and_nothing_after_it_runs(sandbox: Sandbox) -> None:
    sandbox.write({"sort": READ, "lengths": LENGTHS, "gate": GATE, "pack": PACK})
    done = sandbox.run("--set", "stages.gate.with.most=3", code=3)
    assert (done["status"], done["stages"]["gate"]["status"], done["stages"]["pack"]["status"]) == (
        "closed",
        "closed",
        "skipped",
    )
    assert done["stages"]["gate"]["message"] == "left has 4 characters, expected at most 3"
    assert not (sandbox.store / "runs" / done["run"] / "logs" / "pack.log").exists()
    assert sandbox.statuses()["pack"] == "ran"
    sandbox.verify()


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("error", "got [bad] input, expected good input: mend it"),
        ("defect", "KeyError: 'a defect'"),
        ("signal", "its process was ended by SIGSEGV"),
        ("exit", "its process ended with exit code 7"),
        ("memory", "out of memory; give the stage more memory"),
        (
            "orphan",
            "its process was ended by SIGKILL; the kernel kills a process this way when memory runs out",
        ),
    ],
)
def test_a_stage_that_fails_says_how(sandbox: Sandbox, fails: str, message: str) -> None:
    sandbox.write({"read": READ, "clean": step(fails=fails), "after": step("clean.documents")})
    started = time.monotonic()
    done = sandbox.run(code=1, defect=fails == "defect")
    assert done["stages"]["clean"]["message"].startswith(message)
    assert [stage["status"] for stage in done["stages"].values()] == ["ran", "failed", "skipped"]
    assert time.monotonic() - started < 30  # the orphan sleeps for a minute with the pipe in its hands
    assert sandbox.call("logs", "clean", defect=True).stdout.startswith(f"# run {done['run']}")
    sandbox.verify()


def test_a_failure_is_shown_with_its_words_as_they_are(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, "clean": step(fails="error")})
    shown = sandbox.call("run")
    assert shown.returncode == 1
    assert "clean failed: got [bad] input, expected good input: mend it" in shown.stdout


def test_a_crash_is_tried_again_where_it_was_and_a_users_mistake_is_not(sandbox: Sandbox) -> None:
    retries = {"retries": 2}
    stages = {"read": READ, "crash": step(resources=retries, fails="signal", failing_attempts=2)}
    sandbox.write(
        {**stages, "wrong": step("crash.documents", resources=retries, fails="error", failing_attempts=1)}
    )
    done = sandbox.run(code=1)
    kinds = [(event["stage"], event["event"]) for event in sandbox.events(done["run"])]
    assert kinds.count(("crash", "retry")) == 2
    assert kinds.count(("wrong", "retry")) == 0
    assert [stage["status"] for stage in done["stages"].values()] == ["ran", "ran", "failed"]
    log = (sandbox.store / "runs" / done["run"] / "logs" / "crash.log").read_text()
    assert [f"attempt {n}" in log for n in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_stage_over_its_time_is_killed_with_all_it_started(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, "slow": step(resources={"timeout": "5s"}, fails="silence")})
    with sandbox.started("run") as process:
        wait_until(lambda: len(descendants(process.pid)) == 2)
        started = descendants(process.pid)
        output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 1
    assert "slow failed: took longer than its timeout of 5s" in output
    wait_until(lambda: not any(Path(f"/proc/{number}/cmdline").exists() for number in started))


def test_independent_stages_run_at_once_up_to_the_number_of_jobs(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, **{name: step(add=name, seconds=1.0) for name in "abc"}})
    done = sandbox.run("--jobs", "2")
    running, most = 0, 0
    for event in sandbox.events(done["run"]):
        running += {"started": 1, "ran": -1}.get(event["event"], 0)
        most = max(most, running)
    assert most == 2


def test_two_stages_with_the_same_key_run_once(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, "a": step(seconds=0.5), "b": step(seconds=0.5)})
    statuses = sandbox.statuses("--jobs", "2")
    assert sorted((statuses["a"], statuses["b"])) == ["ran", "reused"]


def test_two_runs_at_once_in_one_store_both_succeed_and_share_the_work(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, "clean": step(seconds=1.0), "sort": step("clean.documents", add="!")})
    with sandbox.started("run", "--json") as one, sandbox.started("run", "--json") as other:
        results = [json.loads(process.communicate(timeout=60)[0]) for process in (one, other)]
    assert [result["exit_code"] for result in results] == [0, 0]
    for name in ("read", "clean", "sort"):
        assert sorted(result["stages"][name]["status"] for result in results)[-1] in ("ran", "reused")
        assert [result["stages"][name]["status"] for result in results].count("ran") == 1
        assert results[0]["stages"][name]["outputs"] == results[1]["stages"][name]["outputs"]
    sandbox.verify()


def test_only_from_and_until_choose_stages(sandbox: Sandbox) -> None:
    statuses = sandbox.statuses("--until", "clean")
    assert {name for name, status in statuses.items() if status == "ran"} == {"read", "clean"}
    assert set(statuses.values()) == {"ran", "skipped"}
    assert sandbox.statuses("--only", "sort")["sort"] == "ran"
    done = sandbox.run("--only", "measure", code=1)
    assert done["stages"]["other"]["message"].startswith("not selected, and not in the store")
    assert sandbox.statuses("--from", "other")["pack"] == "ran"
    assert set(sandbox.statuses().values()) == {"reused"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_the_next_run_goes_on_from_the_checkpoint(
    sandbox: Sandbox, number: signal.Signals
) -> None:
    sandbox.write({"read": READ, "slow": step(seconds=6.0, checkpoints=30)})
    work = sandbox.store / "work"
    with sandbox.started("run") as process:
        wait_until(lambda: len(found(work, "checkpoint-")) >= 5)
        children = descendants(process.pid)
        os.killpg(process.pid, number)
        output = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Run the same command again: it goes on from here." in output[0]
    assert b"Traceback" not in output[0] + output[1]
    wait_until(lambda: not any(Path(f"/proc/{number}/cmdline").exists() for number in children))
    assert len(found(work, "checkpoint-")) >= 5
    assert json.loads(sandbox.call("runs", "--json").stdout)["runs"][-1]["status"] == "interrupted"
    started = time.monotonic()
    assert sandbox.statuses("--set", "stages.slow.with.seconds=0.1") == {"read": "reused", "slow": "ran"}
    assert time.monotonic() - started < 30
    assert not list(work.iterdir())


def test_from_another_folder_paths_count_from_the_specs_and_edits_are_seen(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (sandbox.folder / "in.txt").write_text("one")
    sandbox.write({"read": {"uses": "toy_source", "with": {"file": "in.txt"}}, "clean": step()})
    away = tmp_path / "away"
    away.mkdir()
    spec = str(sandbox.folder / "pipeline.yaml")
    assert set(sandbox.statuses(spec, cwd=away).values()) == {"ran"}
    assert set(sandbox.statuses().values()) == {"reused"}
    (sandbox.folder / "in.txt").write_text("two, longer")
    assert set(sandbox.statuses(spec, cwd=away).values()) == {"ran"}
    assert list(away.iterdir()) == []


def test_events_and_logs_of_a_run_are_kept(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, "clean": step(checkpoints=2)})
    done = sandbox.run()
    seen = [(event["stage"], event["event"]) for event in sandbox.events(done["run"])]
    assert seen[0] == ("read", "started")
    assert seen[-1] == ("clean", "ran")
    assert ("clean", "metric") in seen
    folder = sandbox.store / "runs" / done["run"]
    assert {"spec.json", "run.json", "events.jsonl", "logs"} <= {file.name for file in folder.iterdir()}
    assert "attempt 1" in (folder / "logs" / "clean.log").read_text()


def test_one_worker_and_four_give_the_same_digests(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.write({"read": READ, "sort": step(), "other": step(add="!"), "lengths": LENGTHS})
    outputs = [
        {
            name: stage["outputs"]
            for name, stage in sandbox.run("--jobs", jobs, "--store", str(tmp_path / jobs))["stages"].items()
        }
        for jobs in ("1", "4")
    ]
    assert outputs[0] == outputs[1]
