"""One stage run through a store of its own, as a pipeline runs it: with hosts, retries and a supervisor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from millrace.components import registry
from millrace.pipelines.stages.execute import execute
from millrace.pipelines.stages.request import Request
from millrace.pipelines.store.store import Store


def run_stage(
    name: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path],
    folder: Path,
    *,
    hosts: int = 1,
    retries: int = 0,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> SimpleNamespace:
    """Runs a component on folders; gives its ``record``, its ``events`` and ``outputs``, port -> folder in the store."""
    store = Store(str(folder))
    component = registry.get(name)
    published = {}
    for port, path in inputs.items():
        copy = store.scratch / "work" / port
        copy.mkdir(parents=True)
        for file in [file for file in path.rglob("*") if file.is_file()]:
            (copy / file.relative_to(path)).parent.mkdir(exist_ok=True)
            (copy / file.relative_to(path)).write_bytes(file.read_bytes())
        published[port] = {"stage": port, "digest": store.publish(copy, component.inputs[port].kind, {})}
    request = Request(
        store=store.uri,
        run="run",
        pipeline="hosts",
        stage=name,
        component=name,
        key="0" * 64,
        config=dict(config),
        semantic={},
        seed=0,
        inputs=published,
        code="",
        modules={},
        hosts=hosts,
        retries=retries,
    )
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if on_event:
            on_event(event)

    record, _ = execute(request, emit, logging.getLogger(name))
    outputs = {port: store.folder(output["digest"]) for port, output in record.outputs.items()}
    return SimpleNamespace(record=record, events=events, outputs=outputs)
