"""The child process of the local engine: runs one stage and reports on a pipe, one JSON event a line.

Usage: ``python -P -m millrace.pipelines.stages.stage_process REQUEST_FILE EVENT_FD ENGINE_PID``. Standard output and error are
the stage's log file. Exit code: 0 done, 1 failed, 3 gate closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millrace.components.contract import ComponentError, GateClosed

from .execute import execute
from .failures import explain
from .request import Request

Emit = Callable[[dict[str, Any]], None]

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Runs the request in a file; see the module."""
    die_with(int(arguments[2]))
    request = Request(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    emit = pipe_to(int(arguments[1]))
    log_to_standard_error()

    def work() -> dict[str, Any]:
        record, ran = execute(request, emit, logging.getLogger(request.stage))
        return {"event": "done" if ran else "reused", "key": record.key}

    return reported(work, emit)


def pipe_to(descriptor: int) -> Emit:
    """A function that writes events to a pipe, from any thread."""
    pipe = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")
    lock = threading.Lock()

    def emit(event: dict[str, Any]) -> None:
        with lock:
            pipe.write(json.dumps(event) + "\n")

    return emit


def log_to_standard_error() -> None:
    """Sends log lines to standard error, those of noisy libraries only when they warn."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for noisy in ("absl", "jax", "orbax", "apache_beam"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def reported(work: Callable[[], dict[str, Any]], emit: Emit) -> int:
    """Emits the event that the work ends with, or why it failed; returns the exit code."""
    try:
        event = work()
    except ComponentError as error:
        closed = isinstance(error, GateClosed)
        emit({"event": "failed", "message": str(error), "gate": closed})
        with contextlib.suppress(OSError):  # the log may be on the disk that is full
            print(error, file=sys.stderr)
        return 3 if closed else 1
    except BaseException as error:
        message = explain(error)
        with contextlib.suppress(OSError):
            traceback.print_exc()
        emit(
            {
                "event": "failed",
                "message": message or f"{type(error).__name__}: {error}",
                "gate": False,
                "defect": message is None,
            }
        )
        return 1
    emit(event)
    return 0


def die_with(parent: int) -> None:
    """Asks the kernel to end this process when its parent dies, so that no orphan goes on writing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be asked


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # threads of jax, Beam and gRPC have nothing left to do, and joining them can take seconds
