"""A host of a stage, as a process: it joins the others, and dies with them and with its engine."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.sandbox import Sandbox, descendants, wait_until


def test_a_stage_on_several_hosts_is_as_many_processes_and_all_start_again_when_one_dies(
    sandbox: Sandbox,
) -> None:
    """Their lines are told apart, host 0 alone writes, and the number of hosts does not count for reuse."""
    several = {"hosts": 3, "retries": 1}
    sandbox.write({"gather": {"uses": "toy_hosts", "with": {"dies": 2}, "resources": several}})
    run = sandbox.run()
    digest = run["stages"]["gather"]["outputs"]["documents"]
    part = sandbox.store / "artifacts" / digest[:2] / digest / "part-0"
    assert part.read_text() == "[0, 1, 2]"
    (retry,) = [event for event in sandbox.events(run["run"]) if event["event"] == "retry"]
    assert retry["message"].startswith("host 2 was ended by SIGKILL")
    log = (sandbox.store / "runs" / run["run"] / "logs" / "gather.log").read_text()
    for host in range(3):
        assert f"this is host {host}" in log
        assert all(f"host {host} | " in line for line in log.splitlines() if f"this is host {host}" in line)
    assert sandbox.statuses("--set", "stages.gather.resources.hosts=1") == {"gather": "reused"}


def test_hosts_die_with_their_engine(sandbox: Sandbox) -> None:
    """``kill -9`` of the engine leaves no host behind."""
    sandbox.write({"gather": {"uses": "toy_hosts", "resources": {"hosts": 2}}})
    with sandbox.started("run") as process:
        wait_until(lambda: len(descendants(process.pid)) >= 3)
        children = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
