"""The tensorboard command picks the run whose curves it writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.sandbox import Sandbox


def test_the_latest_run_that_trained_is_taken(tmp_path: Path) -> None:
    """A run that reused everything, and one of another pipeline in the same store, have no curves; a named one must."""
    sandbox = Sandbox(tmp_path)
    first = sandbox.run()["run"]
    line = {"event": "metric", "stage": "sort", "time": 1.0, "name": "loss", "value": 1.0, "step": 1}
    with (sandbox.store / "runs" / first / "events.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    second = sandbox.run()["run"]
    folder = str(tmp_path / "curves")
    assert sandbox.json("tensorboard", "-o", folder)["run"] == first
    assert sandbox.call("tensorboard", "-o", folder, "--run", second).returncode == 1
    assert sandbox.call("tensorboard", "-o", folder, "--run", "1999").returncode == 1
