"""Two hosts decide together: what is not finite on a device of one is left out by both."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

REWIND = """
import json, os, sys
from pathlib import Path
import numpy as np
from millrace.model.devices import hosts
from millrace.model.network import decoder as network
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.network.config import ModelConfig
from millrace.model.training.hooks import Digests, Log
from millrace.model.training.loop import fit
from millrace.model.training.step import Objective
from millrace.model.training.optimizer import make_optimizer
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.states.replicas import Replicas
from millrace.model.devices.sharding import MeshShape

count = int(sys.argv[1])
if count > 1:
    hosts.join(sys.argv[3], count, int(sys.argv[4]))
next_token = NextTokenLoss()

def loss(decoder, batch):
    value, metrics = next_token(decoder, {"tokens": batch["tokens"]})
    return value * batch["factor"].mean(), metrics

def batch(step):
    factor = np.ones(8, np.float32)
    factor[-1] = np.nan if step == 5 else 1  # a row of the last host
    return {"tokens": np.random.default_rng(step % 3).integers(0, 64, (8, 17)).astype(np.int32), "factor": factor}

decoder = network.create(ModelConfig(64, 1, 32, 2, 1, 16, 64, 16), 0)
with Checkpoints(Path(sys.argv[2]), 3) as checkpoints:
    history = fit(
        decoder, Objective(loss, make_optimizer(1e-2), on_non_finite="rewind"), batch, 9, hooks=[Digests(4), Log(1)],
        stores=[Replicas([os.memfd_create("one"), os.memfd_create("two")], 4), checkpoints],
        mesh=MeshShape(fsdp=count).build() if count > 1 else None,
    )
print(json.dumps({"loss": history.curves["loss"].tolist(), "skipped": history.skipped_steps}))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REWIND, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def history_of(process: subprocess.Popen[str]) -> Any:
    out, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def test_both_hosts_rewind_to_the_newest_copy_and_leave_the_step_out(tmp_path: Path) -> None:
    """As one process does, which has the same losses but for rounding."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    together = [start("2", str(tmp_path / "two"), address, str(host)) for host in range(2)]
    with together[0], together[1], start("1", str(tmp_path / "one")) as one:
        alone, *found = [history_of(process) for process in (one, *together)]
    for history in found:
        assert history["skipped"] == alone["skipped"] == [5]
        np.testing.assert_allclose(history["loss"], alone["loss"], rtol=1e-5)
