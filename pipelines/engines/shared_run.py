"""A run that several machines write: each stage reports for itself, and together they make the run's ``run.json``.

The local engine is one process and writes ``run.json`` alone. On a cluster every stage is a container that knows only
itself, so each keeps ``runs/<run>/stages/<stage>.json`` and then writes ``run.json`` anew from all of those files. Two
that do so at once may leave one report out, until the next one puts it in; a last stage that runs alone leaves it
whole. A lock or an exit handler would also close runs that Kubeflow cancels, at the price of a task that has to
succeed for the record to exist.

Without this file ``store gc`` would take a cluster's artifacts for garbage, and ``runs``, ``show``, ``logs``, ``diff``
and ``plan`` would not know what a cluster did.
"""

from __future__ import annotations

import time
from typing import Any

from millrace.pipelines.spec.models import Pipeline
from millrace.pipelines.store.store import Store

JOB_CHARACTERS = 8


def run_id(store: Store, job: str) -> str:
    """The run's id for a cluster's job, the same for each of its stages.

    Run ids start with a number, because they sort by it, and a job's own id does not have one: the stage that comes
    first makes the run's id and the others find it by its end.

    Args:
        store: Where the run is.
        job: The job's id, for example a Kubeflow run's UUID.
    """
    suffix = "-" + "".join(letter for letter in job.lower() if letter.isalnum())[:JOB_CHARACTERS]
    found = next((run for run in store.run_ids() if run.endswith(suffix)), None)
    return found or store.new_run(suffix.removeprefix("-"))


def report(
    store: Store,
    pipeline: Pipeline,
    run: str,
    stage: str,
    status: str,
    *,
    key: str | None = None,
    seconds: float = 0.0,
    message: str | None = None,
    log: str = "",
) -> None:
    """Writes the report of one stage, and the run's state as all its stages have reported it.

    Args:
        store: Where the run is.
        pipeline: The pipeline.
        run: The run's id.
        stage: The stage that reports.
        status: ``running``, ``ran``, ``reused``, ``failed`` or ``closed``.
        key: The stage key, once it is known.
        seconds: Wall time.
        message: Why it failed.
        log: Its log so far.
    """
    started = time.time() - seconds
    own: dict[str, Any] = {
        "status": status,
        "key": key,
        "seconds": round(seconds, 3),
        "reasons": [],
        "message": message,
        "started": started,
    }
    if not store.backend.exists(f"runs/{run}/spec.json"):
        store.write_spec(run, pipeline.resolved())
    if log:
        store.backend.write(f"runs/{run}/logs/{stage}.log", log.encode())
    store.write_run(run, f"stages/{stage}.json", own)
    store.write_run(run, "run.json", _state(store, pipeline, run))


def _state(store: Store, pipeline: Pipeline, run: str) -> dict[str, Any]:
    """The run's state, from the reports of its stages."""
    waiting: dict[str, Any] = {
        "status": "waiting",
        "key": None,
        "seconds": 0.0,
        "reasons": [],
        "message": None,
    }
    stages: dict[str, dict[str, Any]] = {
        name: store.read_run(run, f"stages/{name}.json") or waiting for name in pipeline.nodes
    }
    statuses = [stage["status"] for stage in stages.values()]
    ends = {"failed": "failed", "closed": "closed"}
    status = next((ends[word] for word in ends if word in statuses), "running")
    if all(word in ("ran", "reused") for word in statuses):
        status = "done"
    begun = [stage["started"] for stage in stages.values() if "started" in stage]
    return {
        "id": run,
        "pipeline": pipeline.spec.name,
        "status": status,
        "started": min(begun, default=time.time()),
        "updated": time.time(),
        "stages": {
            name: {key: value for key, value in stage.items() if key != "started"}
            for name, stage in stages.items()
        },
    }
