"""Ways to keep a training's state on disk, in turns in one process: Orbax as it is meant, Orbax with our seal, and ours.

``python benchmarks/states.py`` measures a state of 1.3 million parameters and one of 100 million (weights and Adam's two
moments), three times each way, and prints medians: how long the training waits (stall), until the state is safe on disk
(save), until it is read and back in arrays (restore), bytes on disk, and the seconds that the import takes.

    orbax async    ``CheckpointManager`` with its own background writing
    orbax sealed   ``CheckpointManager`` that writes at once, and our seal of SHA-256 over its files
    ours           ``model.states.checkpoints``: a copy in host memory, one safetensors file and its seal in a thread
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from millrace.model.states import integrity
from millrace.model.states.checkpoints import Checkpoints

MILLIONS = (1.3, 100)
REPEATS = 3
Times = tuple[float, float, float]
"""Stall, save and restore, seconds."""


def state_of(millions: float) -> dict[str, Any]:
    """Weights in 24 arrays of one shape, and two moments of each."""
    rows = round(millions * 1e6 / 24 / 1024)

    def arrays(seed: int) -> dict[str, jax.Array]:
        draw = jax.random.normal(jax.random.key(seed), (24, rows, 1024), jnp.float32)
        return {f"layer{number}": draw[number] for number in range(24)}

    state = {"params": arrays(0), "mean": arrays(1), "square": arrays(2)}
    return jax.block_until_ready(state)


def orbax_async(folder: Path, state: Any) -> Times:
    """As Orbax's documentation has it."""
    with ocp.CheckpointManager(folder) as manager:
        start = time.perf_counter()
        manager.save(1, args=ocp.args.StandardSave(state))
        stall = time.perf_counter() - start
        manager.wait_until_finished()
        saved = time.perf_counter()
        described = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        jax.block_until_ready(manager.restore(1, args=ocp.args.StandardRestore(described)))
        return stall, saved - start, time.perf_counter() - saved


def orbax_sealed(folder: Path, state: Any) -> Times:
    """With damage to any file found out before it is read."""
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(folder, options=options) as manager:
        start = time.perf_counter()
        manager.save(1, args=ocp.args.StandardSave(state))
        integrity.seal(folder / "1")
        saved = time.perf_counter()
        assert not integrity.damage(folder / "1")
        described = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        jax.block_until_ready(manager.restore(1, args=ocp.args.StandardRestore(described)))
        return saved - start, saved - start, time.perf_counter() - saved


def ours(folder: Path, state: Any) -> Times:
    """As trainings do it; reading verifies the seal."""
    with Checkpoints(folder) as checkpoints:
        start = time.perf_counter()
        checkpoints.save(1, state)
        stall = time.perf_counter() - start
        checkpoints.wait()
        saved = time.perf_counter()
        step = checkpoints.newest()
        assert step is not None
        jax.block_until_ready(checkpoints.restore(step, state))
        return stall, saved - start, time.perf_counter() - saved


WAYS: dict[str, Callable[[Path, Any], Times]] = {
    "orbax async": orbax_async,
    "orbax sealed": orbax_sealed,
    "ours": ours,
}


def import_seconds(line: str) -> float:
    """The time of an import in a process that has JAX loaded already."""
    code = f"import jax, time; start = time.perf_counter(); {line}; print(time.perf_counter() - start)"
    found = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(REPEATS)
    ]
    return statistics.median(found)


def main() -> None:
    """Prints a table."""
    print(f"import orbax.checkpoint {import_seconds('import orbax.checkpoint'):.2f} s")
    print(f"import safetensors      {import_seconds('import safetensors.numpy'):.2f} s")
    print(f"{'':<24}{'stall s':>9}{'save s':>9}{'restore s':>11}{'MB':>9}")
    for millions in MILLIONS:
        state = state_of(millions)
        found: dict[str, list[Times]] = {name: [] for name in WAYS}
        size = {}
        for _ in range(REPEATS):
            for name, way in WAYS.items():
                with tempfile.TemporaryDirectory() as folder:
                    found[name].append(way(Path(folder), state))
                    files = [path for path in Path(folder).rglob("*") if path.is_file()]
                    size[name] = sum(path.stat().st_size for path in files) / 1e6
        for name, times in found.items():
            stall, save, restore = (statistics.median(part) for part in zip(*times, strict=True))
            print(f"{millions:>6} M  {name:<15}{stall:9.3f}{save:9.3f}{restore:11.3f}{size[name]:9.1f}")


if __name__ == "__main__":
    main()
