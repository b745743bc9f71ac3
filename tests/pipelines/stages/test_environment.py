"""The environment of computing processes: flags for bit-identical results, and the cache of compiled programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.pipelines.stages import environment
from millrace.pipelines.stages.environment import stage_environment


def test_a_users_flags_for_xla_come_last() -> None:
    """XLA takes the last of two values; ours make trainings on a GPU end with the same bits."""
    ours = stage_environment({})["XLA_FLAGS"]
    own = stage_environment({"XLA_FLAGS": "--xla_gpu_deterministic_ops=false", "HOME": "/"})
    assert own["XLA_FLAGS"] == f"{ours} --xla_gpu_deterministic_ops=false"
    assert own["HOME"] == "/"
    assert stage_environment(own) == own


def test_compiled_programs_are_kept_for_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the user's cache, unless the user named a folder, or it is somebody else's or cannot be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = stage_environment({})
    folder = Path(found[environment.CACHE_VARIABLE])
    assert folder.is_relative_to(tmp_path)
    for name, age in (("new", 0.5), ("old", 1.5)):
        (folder / name).touch()
        written = time.time() - age * environment.KEPT_SECONDS
        os.utime(folder / name, (written, written))
    assert stage_environment({}) == found
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert stage_environment({environment.CACHE_VARIABLE: "/own"})[environment.CACHE_VARIABLE] == "/own"
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)
        assert environment.CACHE_VARIABLE not in stage_environment({})
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "new"))  # a file
    assert environment.CACHE_VARIABLE not in stage_environment({})


def test_a_program_is_compiled_in_one_process_only(tmp_path: Path) -> None:
    """The next one loads it and computes the same bits; what is damaged is compiled anew."""
    code = (
        "import jax, jax.numpy as jnp; events = [];"
        "jax.monitoring.register_event_listener(lambda name, **_: events.append(name));"
        "f = jax.jit(jax.grad(lambda x: jnp.sin(x @ x).sum()));"
        "print(f(jnp.ones((9, 9))).tobytes().hex(), events.count('/jax/compilation_cache/cache_hits'))"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    given = stage_environment({**own, environment.CACHE_VARIABLE: str(tmp_path)})
    given["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

    def computed() -> tuple[str, int]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=given, check=True, capture_output=True, text=True)
        bits, hits = done.stdout.split()
        return bits, int(hits)

    first, kept = computed(), computed()
    assert (first[1], kept[1] > 0) == (0, True)
    for entry in tmp_path.iterdir():  # as a full disk, or kill -9, leaves them
        entry.write_bytes(entry.read_bytes()[:50])
    assert {first[0], kept[0]} == {computed()[0]}
