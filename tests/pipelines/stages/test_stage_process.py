"""A stage's process: what it reports, and that it dies with its engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.sandbox import Sandbox, descendants, found, wait_until

READ = {"uses": "toy_source"}


def step(
    reference: str = "read.documents", resources: dict[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    return {
        "uses": "toy_step",
        "inputs": {"documents": reference},
        "with": config,
        "resources": resources or {},
    }


def test_children_die_with_an_engine_that_is_killed(sandbox: Sandbox) -> None:
    sandbox.write({"read": READ, "slow": step(seconds=60.0)})
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
    sandbox.write({"read": READ, "clean": step()})
    assert set(sandbox.statuses().values()) == {"ran"}
