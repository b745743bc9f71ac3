"""Two hosts, real processes joined by JAX, fine-tune the model of one, and go on from memory after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.sandbox import descendants
from tests.staging import run_stage

CONFIG = {
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.01,
    "evaluate_every_steps": 2,
    "log_every_steps": 1,
}


def test_two_hosts_of_which_one_is_killed_fine_tune_the_model_of_one(
    tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights and held-out losses agree within float rounding; both hosts go on from their copies in memory."""
    inputs = {"model": tiny.model, "tokenizer": tiny.tokenizer, "chats": tiny.chats}
    alone = run_stage("sft", CONFIG, inputs, tmp_path / "alone")
    killed: list[int] = []

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "metric" and event["name"] == "loss" and event["step"] == 4 and not killed:
            hosts = sorted(process for process in descendants(os.getpid()) if is_host(process))
            killed.append(hosts[-1])
            os.kill(hosts[-1], signal.SIGKILL)

    memory = {"replica_every_steps": 1, "checkpoint_every_steps": 1000}
    together = run_stage(
        "sft", CONFIG | memory, inputs, tmp_path / "two", hosts=2, retries=1, on_event=on_event
    )
    assert killed
    assert "going on after" in capsys.readouterr().err
    ours, theirs = (load_file(done.outputs["model"] / "weights.safetensors") for done in (together, alone))
    for name, weight in ours.items():
        np.testing.assert_allclose(weight, theirs[name], atol=1e-5, rtol=0, err_msg=name)
    assert together.record.metrics == pytest.approx(alone.record.metrics, rel=1e-4)


def is_host(process: int) -> bool:
    return b"host_process" in Path(f"/proc/{process}/cmdline").read_bytes()
