"""Every mesh computes the same training: eight simulated devices against one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from jax.sharding import PartitionSpec

from millrace.model.devices.sharding import MeshShape, spec_for

TRAIN = """
import json, sys
import jax, numpy as np
from flax import nnx
from millrace.model.network import decoder as network
from millrace.model.network.config import ModelConfig
from millrace.model.losses.distillation import DistillationLoss
from millrace.model.training.loop import fit
from millrace.model.training.step import Objective
from millrace.model.network.decoder import TrainingMode
from millrace.model.training.optimizer import make_optimizer
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.devices.sharding import MeshShape

asked = json.loads(sys.argv[1])
if len(sys.argv) > 2:
    jax.distributed.initialize(sys.argv[2], num_processes=2, process_id=int(sys.argv[3]))
config = ModelConfig(256, 2, 32, 4, 2, 8, 64, 32, **asked["config"])
loss = NextTokenLoss(TrainingMode(capacity_factor=asked["capacity_factor"]), z_loss=1e-4, router_balance_loss=0.01)
frozen = ()
if "top_k" in asked:
    graph, weights = nnx.split(network.create(ModelConfig(256, 1, 64, 4, 2, 16, 64, 32), 1))
    loss, frozen = DistillationLoss(loss, 2.0, 0.9, graph, asked["top_k"]), (nnx.to_pure_dict(weights),)

def batch(step):
    return {"tokens": np.random.default_rng(step % 3).integers(0, 256, (8, 33)).astype(np.int32)}

found = []
for axes in asked["meshes"]:
    mesh = MeshShape(**axes).build() if axes else None
    decoder = network.create(config, 0)
    history = fit(decoder, Objective(loss, make_optimizer(1e-2), frozen=frozen), batch, 8, mesh=mesh)
    up = decoder.layers.feed_forward.up[...]
    share = up.addressable_shards[0].data.size / up.size
    found.append({"losses": history.curves["loss"].tolist(), "share": share})
print(json.dumps(found))
"""

DENSE = [{"data": 2, "fsdp": 2, "tensor": 2}, {"fsdp": 4, "sequence": 2}]
DENSE_MORE = [{"data": 8}, {"fsdp": 8}, {"tensor": 8}, {"sequence": 8}, {"tensor": 2, "sequence": 4}]
SPARSE: list[dict[str, int]] = [{"expert": 4, "fsdp": 2}]
SPARSE_MORE: list[dict[str, int]] = [{"expert": 8}, {"data": 2, "expert": 2, "tensor": 2}]


READ = """
import json, sys
import numpy as np
from millrace.model.devices import hosts
from millrace.model.devices.sharding import MeshShape, place_batch, read_own_rows

hosts.join(sys.argv[2], 2, int(sys.argv[3]))
whole = {"tokens": np.arange(24).reshape(8, 3), "rope_base": np.arange(8.0)}
found = []
for axes in json.loads(sys.argv[1]):
    mesh, asked = MeshShape(**axes).build(), []
    def read(rows):
        asked.append(rows)
        return {name: array[rows] for name, array in whole.items()}
    batch = read_own_rows(mesh, 8, read)
    for name, array in place_batch(mesh, whole).items():
        assert batch[name].sharding == array.sharding and batch[name].shape == array.shape
        for ours, theirs in zip(batch[name].addressable_shards, array.addressable_shards, strict=True):
            assert np.array_equal(ours.data, theirs.data)
    found += asked
print(json.dumps(found))
"""


def start(devices: int, asked: Any, *more: str, program: str = TRAIN) -> subprocess.Popen[str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(asked), *more],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def curves_of(process: subprocess.Popen[str]) -> list[Any]:
    out, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return list(json.loads(out.splitlines()[-1]))  # collectives over sockets print lines of their own


def train(
    meshes: list[dict[str, int]], config: dict[str, Any], capacity_factor: float | None = None, **more: Any
) -> list[Any]:
    asked = {"meshes": [None, *meshes], "config": config, "capacity_factor": capacity_factor, **more}
    return curves_of(start(8, asked))


@pytest.mark.parametrize(
    ("meshes", "config", "capacity_factor"),
    [
        (DENSE, {"query_key_norm": True}, None),
        (SPARSE, {"experts": 8}, 2.0),
        pytest.param(DENSE_MORE, {"query_key_norm": True}, None, marks=pytest.mark.slow),
        pytest.param(SPARSE_MORE, {"experts": 8}, 2.0, marks=pytest.mark.slow),
        pytest.param(SPARSE + SPARSE_MORE, {"experts": 8}, None, marks=pytest.mark.slow),
    ],
    ids=["dense", "capacity", "dense, more", "capacity, more", "dropless"],
)
def test_every_mesh_gives_the_curve_of_one_device(
    meshes: list[dict[str, int]], config: dict[str, Any], capacity_factor: float | None
) -> None:
    """Losses of eight steps agree within 1e-5, and a device holds its slice of the weights."""
    alone, *spread = train(meshes, config, capacity_factor)
    assert alone["losses"][-1] < alone["losses"][0] - 0.3
    for mesh, curve in zip(meshes, spread, strict=True):
        assert curve["losses"] == pytest.approx(alone["losses"], rel=1e-5), mesh
        split = mesh.get("fsdp", 1) * mesh.get("tensor", 1) * mesh.get("expert", 1)
        assert curve["share"] == 1 / split, mesh


@pytest.mark.parametrize("top_k", [None, 5])
def test_a_student_and_its_teacher_are_spread_alike(top_k: int | None) -> None:
    """Distillation on a mesh has the curve of one device, with the teacher's whole distribution and with its top."""
    alone, spread = train([{"data": 2, "fsdp": 2, "tensor": 2}], {}, top_k=top_k)
    assert alone["losses"][-1] < alone["losses"][0]
    assert spread["losses"] == pytest.approx(alone["losses"], rel=1e-5)


def test_two_processes_give_the_curve_of_one() -> None:
    """Two hosts of two devices each, which reduce gradients and gather weights over a socket, train as one device."""
    meshes = [{"data": 2, "fsdp": 2}]
    asked: dict[str, Any] = {"config": {}, "capacity_factor": None}
    address = free_address()
    hosts = [start(2, asked | {"meshes": meshes}, address, str(number)) for number in range(2)]
    alone = curves_of(start(1, asked | {"meshes": [None]}))[0]
    with hosts[0], hosts[1]:  # neither outlives the test
        found = [curve for host in hosts for curve in curves_of(host)]
    for curve in found:
        assert curve["losses"] == pytest.approx(alone["losses"], rel=1e-5)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def test_each_process_reads_only_the_rows_that_its_devices_hold() -> None:
    """Half of them, and all where every device needs all; placed as ever."""
    meshes = [{"data": 2, "fsdp": 2}, {"data": 2, "tensor": 2}, {"tensor": 2, "expert": 2}, {"tensor": 4}]
    address = free_address()
    processes = [start(2, meshes, address, str(number), program=READ) for number in range(2)]
    with processes[0], processes[1]:
        first, second = (curves_of(process) for process in processes)
    assert first == [[0, 1, 2, 3], [0, 1, 2, 3], [*range(8)], [*range(8)]]
    assert second == [[4, 5, 6, 7], [4, 5, 6, 7], [*range(8)], [*range(8)]]


def test_an_axis_that_does_not_divide_stays_whole() -> None:
    """One key-value head is copied, six rows go over two of four devices' axes, and leading axes are layers."""
    sizes = {"data": 2, "fsdp": 2, "tensor": 4, "expert": 1, "sequence": 1}
    assert spec_for(("embed", "heads", None), (3, 16, 1, 8), sizes) == PartitionSpec(
        None, ("fsdp",), None, None
    )
    assert spec_for(("batch", "time"), (6, 5), sizes) == PartitionSpec(("data",), ("sequence",))


def test_a_mesh_of_the_wrong_size_is_refused() -> None:
    """It says how many devices were asked for and how many there are."""
    with pytest.raises(ValueError, match=r"mesh of 12 devices .* and \d+ cpu devices"):
        MeshShape(data=3, fsdp=4).build()
