"""One host of a stage on several: joins the others, runs the component, and reports to its supervisor on a pipe.

Usage: ``python -P -m millrace.pipelines.stages.host_process EVENT_FD SUPERVISOR_PID``, with the request and the seat (see
``hosts``) as one line of JSON on standard input. A host that is done waits for its input to end, since the others may
still need it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from millrace.components import registry
from millrace.components.contract import Inputs
from millrace.pipelines.plan import identity
from millrace.pipelines.store.store import Store

from .context import StageContext
from .execute import stage_inputs
from .hosts import Seat
from .request import Request
from .stage_process import die_with, log_to_standard_error, pipe_to, reported


def main(arguments: list[str]) -> int:
    """Runs this host; see the module."""
    die_with(int(arguments[1]))
    told = json.loads(sys.stdin.readline())
    request, seat = Request(**told["request"]), Seat(**told["seat"])
    log_to_standard_error()
    emit = pipe_to(int(arguments[0]))

    def work() -> dict[str, Any]:
        component = registry.get(request.component)
        if seat.hosts > 1:
            from millrace.model.devices import hosts

            hosts.join(seat.coordinator, seat.hosts, seat.host)
        context = StageContext(
            seed=identity.stage_seed(request.seed, request.component),
            work=Path(seat.work),
            outputs={port: Path(path) for port, path in seat.outputs.items()},
            emit=emit,
            log=logging.getLogger(request.stage),
            host=seat.host,
            memory=tuple(seat.memory),
        )
        registry.run_of(component)(
            context,
            component.config.model_validate(request.config),
            Inputs(stage_inputs(request, Store(request.store, request.store_timeout_seconds)).ports),
        )
        return {"event": "done"}

    code = reported(work, emit)
    if code == 0:
        sys.stdin.read()
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
