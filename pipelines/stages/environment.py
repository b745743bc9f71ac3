"""The environment of every process that computes: the same bits each time, and no program compiled twice.

Huge pages took a fifth off the processor time of a training step, with the same bits; a C library that does not know the
variable ignores it. Without the flag XLA adds up in no fixed order on a GPU: on an H200 two trainings differed after their
first step, and with it they did not differ in any bit.

Programs that XLA compiled are kept in the user's cache folder, so that a stage that goes on after a crash, or runs again
on other data, starts at once. JAX's key is the program, its own version and the machine's features; a file that cannot be
read is compiled again. On a GPU the choices that timing made are kept too, so that a replay does what the training did.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping

from millrace.pipelines.plan.code_identity import cache_folder

STAGE_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
}

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
KEPT_SECONDS = 30 * 24 * 3600
LEAST_SECONDS = 0.05  # a program that compiles faster is not worth a file


def stage_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that runs a stage: ``own`` with ours.

    Of XLA's flags the last one wins, and the user's come last.

    Applied to its own result it changes nothing.
    """
    flags = dict.fromkeys([STAGE_ENVIRONMENT["XLA_FLAGS"], *own.get("XLA_FLAGS", "").split()])
    return {**own, **STAGE_ENVIRONMENT, "XLA_FLAGS": " ".join(flags), **_compiled_programs(own)}


def compute_here() -> None:
    """Sets the variables that a running process still heeds; call it before JAX is imported."""
    found = stage_environment(os.environ)
    os.environ.update({name: value for name, value in found.items() if name.startswith(("JAX_", "XLA_"))})


def _compiled_programs(own: Mapping[str, str]) -> dict[str, str]:
    """Where JAX keeps compiled programs, unless the user said so already or the folder cannot be written.

    Programs that were compiled ``KEPT_SECONDS`` ago are removed, since JAX itself never forgets one.
    """
    if CACHE_VARIABLE in own:
        return {}
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Somebody else's folder, as there may be in a shared temporary one, could hold any program.
        if folder.stat().st_uid != os.getuid() or not os.access(folder, os.W_OK | os.X_OK):
            return {}
        oldest = time.time() - KEPT_SECONDS
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                if entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)
    except OSError:
        return {}
    return {
        CACHE_VARIABLE: str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(LEAST_SECONDS),
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
