"""Two hosts, real processes joined by JAX, train what one does, and go on from memory after a kill."""

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
from tests.small_training import after_pretraining, assert_same_answers
from tests.staging import run_stage

CONFIGS: dict[str, dict[str, Any]] = {
    "sft": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "evaluate_every_steps": 2},
    "reward": {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3},
    "rlhf": {
        "steps": 6,
        "prompts_per_step": 3,
        "samples_per_prompt": 2,
        "learning_rate": 3e-3,
        "max_new_tokens": 8,
        "rule": "text",
        "held_out_prompts": 4,
    },
}


@pytest.mark.parametrize(
    "name", ["sft", *(pytest.param(name, marks=pytest.mark.slow) for name in ("reward", "rlhf"))]
)
def test_two_hosts_of_which_one_is_killed_end_where_one_host_does(
    name: str, tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights and figures agree within float rounding; both hosts go on from their copies in memory."""
    inputs, config = after_pretraining(name, tiny), CONFIGS[name] | {"log_every_steps": 1}
    alone = run_stage(name, config, inputs, tmp_path / "alone")
    death = Death("reward" if name == "rlhf" else "loss", step=4, host=1)
    memory = {"replica_every_steps": 1, "checkpoint_every_steps": 1000}
    together = run_stage(name, config | memory, inputs, tmp_path / "two", hosts=2, retries=1, on_event=death)
    assert death.killed
    assert "going on after" in capsys.readouterr().err
    for port in set(together.outputs) - {"report"}:
        for file in alone.outputs[port].glob("*.safetensors"):
            ours = load_file(together.outputs[port] / file.name)
            for tensor, weight in load_file(file).items():
                np.testing.assert_allclose(ours[tensor], weight, atol=1e-5, rtol=0, err_msg=tensor)
    if name == "rlhf":
        assert_same_answers(together.outputs["report"], alone.outputs["report"])
    assert together.record.metrics == pytest.approx(alone.record.metrics, rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_the_host_that_writes_is_killed_and_a_policy_ends_with_the_bytes_of_an_undisturbed_one(
    tiny: SimpleNamespace, tmp_path: Path
) -> None:
    """Both hosts go on from a checkpoint on disk, with the same answers in every step."""
    inputs = after_pretraining("rlhf", tiny)
    config = CONFIGS["rlhf"] | {"log_every_steps": 1, "checkpoint_every_steps": 2}
    death = Death("reward", step=5, host=0)
    disturbed, undisturbed = (
        run_stage("rlhf", config, inputs, tmp_path / folder, hosts=2, retries=1, on_event=on_event)
        for folder, on_event in (("killed", death), ("whole", None))
    )
    assert death.killed
    assert disturbed.record.outputs == undisturbed.record.outputs


class Death:
    """Kills a host when a metric is told for a step; takes the stage's events."""

    def __init__(self, metric: str, step: int, host: int) -> None:
        self.killed = False
        self._metric, self._step, self._host = metric, step, host

    def __call__(self, event: dict[str, Any]) -> None:
        if self.killed or event["event"] != "metric":
            return
        if (event["name"], event["step"]) == (self._metric, self._step):
            self.killed = True
            hosts = sorted(process for process in descendants(os.getpid()) if is_host(process))
            os.kill(hosts[self._host], signal.SIGKILL)


def is_host(process: int) -> bool:
    return b"host_process" in Path(f"/proc/{process}/cmdline").read_bytes()
