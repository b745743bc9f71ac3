"""Copies in memory give back what was saved, outlive a kill at any instant, and know when they are damaged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from millrace.model.states import replicas as module
from millrace.model.states.replicas import NoRoom, Replicas

SAVE_FOR_EVER = """
import sys
import numpy as np
from millrace.model.states.replicas import Replicas

def state_of(step):
    return {"w": np.full((512, 1024), step, np.float32), "step": np.asarray(step, np.int32)}

replicas = Replicas([int(handle) for handle in sys.argv[1:]], 1)
replicas.lay_out(state_of(0))
step = replicas.newest() or 0
if step:
    found = replicas.restore(step, state_of(0))
    assert found["step"] == step and (found["w"] == step).all(), found
print(step, flush=True)
while True:
    step += 1
    replicas.save(step, state_of(step))
    print(step, flush=True)
"""


@pytest.fixture
def memory() -> Iterator[tuple[int, int]]:
    handles = os.memfd_create("one"), os.memfd_create("two")
    yield handles
    for handle in handles:
        os.close(handle)


def state_of(step: int) -> dict[str, Any]:
    params = {"w": jnp.linspace(0, step, 12, dtype=jnp.float32).reshape(3, 4)}
    return {
        "params": params,
        "optimizer": optax.adamw(1e-3).init(params),
        "half": jnp.arange(5, dtype=jnp.bfloat16),
        "skips": jnp.asarray([True, False, step % 2 == 0]),
        "step": jnp.int32(step),
        "host": np.asarray([0.1, np.nan, step]),
    }


def laid_out(memory: tuple[int, int], **settings: Any) -> Replicas:
    replicas = Replicas(memory, 1, **settings)
    replicas.lay_out(state_of(0))
    return replicas


def same(found: Any, expected: Any) -> bool:
    return all(
        one.dtype == other.dtype and np.asarray(one).tobytes() == np.asarray(other).tobytes()
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    )


def test_the_newest_state_comes_back_exactly_in_another_replicas(memory: tuple[int, int]) -> None:
    """Nested state, half precision, booleans, scalars and host arrays have the same types and bits."""
    first = laid_out(memory)
    assert first.newest() is None
    for step in (3, 6, 9):
        first.save(step, state_of(step))
    second = laid_out(memory)
    assert second.newest() == 9
    restored = second.restore(9, state_of(0))
    assert same(restored, state_of(9))
    assert type(restored["optimizer"][0]) is type(state_of(9)["optimizer"][0])
    second.save(12, restored)  # over the older of the two
    assert laid_out(memory).newest() == 12
    assert same(laid_out_and_newest(memory).restore(9, state_of(0)), state_of(9))


def laid_out_and_newest(memory: tuple[int, int]) -> Replicas:
    replicas = laid_out(memory)
    replicas.newest()
    return replicas


def test_a_killed_copy_leaves_the_one_before(memory: tuple[int, int]) -> None:
    """Killed at random moments, the next process finds a whole state not older than the last completed copy."""
    chance, completed = random.Random(0), 0
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOR_EVER, *map(str, memory)],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=memory,
        ) as process:
            assert process.stdout is not None
            found = int(process.stdout.readline())
            assert found >= completed
            process.stdout.readline()
            time.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            completed = max([found, *map(int, process.stdout.read().split())])
    assert completed > 5


@pytest.mark.parametrize("place", [0.0, 0.3, 0.9])
def test_a_changed_byte_is_named_and_the_copy_before_is_used(memory: tuple[int, int], place: float) -> None:
    """In the header or anywhere in the state; when both are damaged there is none."""
    saved = laid_out(memory)
    for step in (3, 6):
        saved.save(step, state_of(step))
    for handle, left in ((memory[0], 3), (memory[1], None)):  # the second copy went to the first file
        used = module.HEADER_BYTES + sum(leaf.nbytes for leaf in jax.tree.leaves(state_of(0)))
        offset = 20 if place == 0 else int(module.HEADER_BYTES + place * (used - module.HEADER_BYTES))
        os.pwrite(handle, bytes([os.pread(handle, 1, offset)[0] ^ 1]), offset)
        lines: list[str] = []
        assert laid_out(memory, log=lines.append).newest() == left
        assert "a copy in memory is damaged: " in lines[0]


def test_memory_of_another_state_is_not_taken(memory: tuple[int, int]) -> None:
    laid_out(memory).save(3, state_of(3))
    lines: list[str] = []
    other = Replicas(memory, 1, lines.append)
    other.lay_out({"w": jnp.zeros((7,))})
    assert other.newest() is None
    assert lines == ["a copy in memory is damaged: it is of another state"]


def test_too_little_memory_is_refused_with_both_numbers(
    memory: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under a cgroup's limit, too; nothing is reserved then."""
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{290 << 20}\n")
    monkeypatch.setattr(module, "CGROUP", tmp_path)
    state = {"w": jnp.zeros((2 << 20,), jnp.float32)}
    with pytest.raises(NoRoom, match=r"need 16 MiB for each of 1 hosts of this machine, and 10 MiB are free"):
        Replicas(memory, 1).lay_out(state)
    assert [os.fstat(handle).st_size for handle in memory] == [0, 0]


SPREAD = """
import os
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from millrace.model.states.replicas import Replicas
from millrace.model.devices.sharding import MeshShape

mesh = MeshShape(data=2, fsdp=2, tensor=2).build()
def placed(array, *axes):
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes)))
def state_of(step):
    values = step + np.arange(96, dtype=np.float32)
    return {
        "split": placed(values.reshape(8, 12), "fsdp", "tensor"), "both": placed(values, ("tensor", "fsdp")),
        "copied": placed(values[:7]), "step": placed(np.int32(step)), "host": values[:2],
    }
memory = [os.memfd_create(name) for name in ("one", "two")]
for steps in ((3, 6), (9,)):
    replicas = Replicas(memory, 1)
    replicas.lay_out(state_of(0))
    replicas.newest()
    for step in steps:
        replicas.save(step, state_of(step))
replicas.newest()
found = replicas.restore(9, state_of(0))
for name, leaf in state_of(9).items():
    assert np.array_equal(found[name], leaf), name
    assert isinstance(leaf, np.ndarray) or found[name].sharding == leaf.sharding, name
# One copy of the state, not one for each device.
assert os.fstat(memory[0]).st_size == 4096 + 4 * (96 + 96 + 7 + 1 + 2), os.fstat(memory[0])
"""


def test_a_state_spread_over_devices_is_kept_once_and_comes_back_as_it_was_spread() -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SPREAD], env={**os.environ, **flags}, check=True)


@pytest.mark.parametrize(("memory_files", "every_steps"), [((1,), 1), ((1, 2), 0)])
def test_settings_that_keep_nothing_are_refused(memory_files: tuple[int, ...], every_steps: int) -> None:
    with pytest.raises(ValueError, match="expected two and at least 1"):
        Replicas(memory_files, every_steps)
