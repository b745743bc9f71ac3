"""Two hosts decide and work together: a step that is not finite on one is left out by both, and rows are shared."""

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

DIVIDE = """
import json, sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from millrace.model.devices import hosts
from millrace.model.devices.sharding import MeshShape

hosts.join(sys.argv[1], 2, int(sys.argv[2]))
asked = []

def work(rows):
    asked.extend(rows)
    return {"third": np.asarray(rows) / 3, "host": np.full((len(rows), 2), jax.process_index(), np.int32)}

found = hosts.divided(5, work)
spread = NamedSharding(MeshShape(fsdp=jax.device_count()).build(), PartitionSpec("fsdp"))
array = hosts.gathered(jax.make_array_from_callback((4,), spread, lambda index: np.arange(4)[index]))
assert array.is_fully_addressable and array.devices() == {jax.local_devices()[0]}
told = {name: values.tolist() for name, values in found.items()}
print(json.dumps({"asked": asked, "array": np.asarray(array).tolist(), **told}))
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def told_by(process: subprocess.Popen[str]) -> Any:
    out, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def test_both_hosts_rewind_to_the_newest_copy_and_leave_the_step_out(tmp_path: Path) -> None:
    """As one process does, which has the same losses but for rounding."""
    address = free_address()
    together = [start(REWIND, "2", str(tmp_path / "two"), address, str(host)) for host in range(2)]
    with together[0], together[1], start(REWIND, "1", str(tmp_path / "one")) as one:
        alone, *found = [told_by(process) for process in (one, *together)]
    for history in found:
        assert history["skipped"] == alone["skipped"] == [5]
        np.testing.assert_allclose(history["loss"], alone["loss"], rtol=1e-5)


def test_hosts_share_the_rows_of_a_work_and_get_all_of_it_exactly() -> None:
    """Of five rows each of two hosts does three; both have every float64 and a whole array on a device of their own."""
    address = free_address()
    together = [start(DIVIDE, address, str(host)) for host in range(2)]
    with together[0], together[1]:
        first, second = (told_by(process) for process in together)
    assert (first["asked"], second["asked"]) == ([0, 1, 2], [3, 4, 4])
    assert first["host"] == second["host"] == [[0, 0]] * 3 + [[1, 1]] * 2
    assert first["third"] == second["third"] == [row / 3 for row in range(5)]
    assert first["array"] == second["array"] == [0, 1, 2, 3]
