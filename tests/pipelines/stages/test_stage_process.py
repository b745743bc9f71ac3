"""A stage's process: what it reports, and that it dies with its engine."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import CHAIN, LINE, Sandbox, descendants, found, wait_until

from millrace.components.contract import ComponentError, GateClosed
from millrace.pipelines.stages.stage_process import reported


def test_children_die_with_an_engine_that_is_killed(sandbox: Sandbox) -> None:
    sandbox.write({"read": CHAIN["read"], "slow": {**CHAIN["clean"], "with": {"seconds": 60.0}}})
    with sandbox.started("run") as process:
        wait_until(lambda: found(sandbox.store / "work", "attempts"))
        wait_until(lambda: len(descendants(process.pid)) == 1)
        (child,) = descendants(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not Path(f"/proc/{child}/cmdline").exists())
    assert json.loads(sandbox.call("runs", "--json").stdout)["runs"][-1]["status"] == "running"
    assert "killed or running" in sandbox.call("runs").stdout
    sandbox.verify()


def test_files_beside_the_spec_are_never_imported(sandbox: Sandbox) -> None:
    for name in ("json", "random", "typing", "numpy"):
        (sandbox.folder / f"{name}.py").write_text("raise SystemExit('imported a file of the user')")
    sandbox.write(LINE)
    assert set(sandbox.statuses().values()) == {"ran"}


@pytest.mark.parametrize(
    ("error", "code", "event"),
    [
        (ComponentError("mend it"), 1, {"message": "mend it", "gate": False}),
        (GateClosed("too low"), 3, {"message": "too low", "gate": True}),
        (KeyError("a"), 1, {"message": "KeyError: 'a'", "gate": False, "defect": True}),
        (OSError(errno.ENOSPC, "x", "f"), 1, {"gate": False, "defect": False}),
        (SystemExit(5), 1, {"message": "SystemExit: 5", "gate": False, "defect": True}),
    ],
)
def test_every_end_of_the_work_is_told_and_has_its_exit_code(
    error: BaseException, code: int, event: dict[str, Any]
) -> None:
    events: list[dict[str, Any]] = []

    def work() -> dict[str, Any]:
        raise error

    assert reported(work, events.append) == code
    (told,) = events
    assert {"event": "failed", **event}.items() <= told.items()


def test_work_that_succeeds_ends_with_its_event() -> None:
    events: list[dict[str, Any]] = []
    assert reported(lambda: {"event": "done", "key": "k"}, events.append) == 0
    assert events == [{"event": "done", "key": "k"}]


def test_events_of_many_threads_are_whole_lines() -> None:
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from millrace.pipelines.stages.stage_process import pipe_to\n"
        "emit = pipe_to(1)\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    list(pool.map(lambda number: emit({'number': number, 'text': 'x' * 100}), range(200)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert sorted(json.loads(line)["number"] for line in done.stdout.splitlines()) == list(range(200))
