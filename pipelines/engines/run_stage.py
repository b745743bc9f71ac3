"""Runs one stage of a pipeline in a container, against a store, told the digests of its inputs.

The stage key comes from the same functions as on one machine (``identity.identify``), so a stage that ran in a
container is reused by ``millrace run`` and the other way round. The container looks in the store first: running a
stage again is cheap, and a cluster's own cache, which knows nothing of content, stays off.

Components that read lineage (the model card) need the records of every stage upstream. A cluster hands over their
stage keys; by hand they may be left out and are found as a plan finds them.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from millrace.components.contract import ComponentError, GateClosed
from millrace.pipelines.plan.identity import identify
from millrace.pipelines.plan.plan import Planner
from millrace.pipelines.spec import check
from millrace.pipelines.spec import models as spec
from millrace.pipelines.spec.graph import ancestors, order
from millrace.pipelines.spec.models import Node, Pipeline, closest
from millrace.pipelines.spec.source_map import Mistake, Source, SpecError
from millrace.pipelines.stages.execute import execute
from millrace.pipelines.stages.failures import explain
from millrace.pipelines.stages.request import request_for
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store

from . import shared_run

DIGEST = re.compile(r"[0-9a-f]{64}")
PROGRESS_SECONDS = 10.0
KEY, METRICS, SUMMARY = "stage_key", "stage_metrics", "stage_summary"


@dataclass(frozen=True)
class StageCall:
    """One stage, its inputs, and where to tell what came of it.

    Attributes:
        stage: The stage's name.
        inputs: ``port`` or ``port.label`` -> artifact digest.
        upstream: Stage -> stage key, for components that read lineage; what is missing is found in the store.
        job: The id of the cluster's job, the same for all stages of a run; None makes a run of its own.
        files: ``stage_key``, ``stage_metrics``, ``stage_summary`` or an output port -> the file to write it to.
        executor_input: Kubeflow's executor input, whose output file then carries the metrics to its UI.
    """

    stage: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)
    job: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    executor_input: Mapping[str, Any] | None = None


def from_json(text: str, store: str | None) -> Pipeline:
    """The pipeline of a resolved spec as JSON text, checked like a file's.

    Raises:
        SpecError: With every mistake found.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise SpecError([Mistake("--spec-json", "", f"got text that is not JSON: {error}")]) from None
    if isinstance(data, dict) and store is not None:
        data = {**data, "store": store}
    pipeline = spec.resolve(Source(data), Path.cwd())
    mistakes = check.errors(pipeline)
    if mistakes:
        raise SpecError(mistakes)
    return pipeline


def run_stage(pipeline: Pipeline, call: StageCall) -> tuple[StageRecord, bool]:
    """Runs one stage, or finds it in the store, and reports it to its run.

    Args:
        pipeline: The pipeline.
        call: Which stage, from what, and where the results go.

    Returns:
        The stage's record, and whether this call ran it.

    Raises:
        SpecError: The call does not fit the spec.
        ComponentError: The stage cannot go on and the user can mend it; a closed gate is one of these.
    """
    planner = Planner(pipeline, Store(pipeline.store_uri, pipeline.store_timeout_seconds))
    store = planner.store
    node = _node(pipeline, call.stage)
    inputs = _inputs(node, call.inputs)
    _check_files(node, call.files)
    job = call.job or os.urandom(4).hex()
    run = shared_run.run_id(store, job)
    text = io.StringIO()
    clock = time.monotonic()

    def tell(status: str, key: str | None = None, message: str | None = None) -> None:
        seconds = time.monotonic() - clock
        shared_run.report(
            store,
            pipeline,
            run,
            call.stage,
            status,
            key=key,
            seconds=seconds,
            message=message,
            log=text.getvalue(),
        )

    with store.in_use(), _time_limit(node, tell), _logger(call.stage, text) as log:
        tell("running")
        try:
            lineage = planner.lineage(node, _upstream(planner, node, call.upstream))
            identity = identify(node, pipeline.spec.seed, inputs, lineage, planner.code, pipeline.folder)
            request = request_for(pipeline, store, node, identity, run)
            tell("running", key=identity.key)  # before the work, so that `store gc` knows what the run uses
            log.info("stage %s of %s, key %s, run %s", node.name, pipeline.spec.name, identity.key[:12], run)
            record, ran = execute(request, _progress(log), log)
        except BaseException as error:
            message = str(error) if isinstance(error, ComponentError) else explain(error)
            log.error("%s", message or repr(error), exc_info=message is None)
            tell("closed" if isinstance(error, GateClosed) else "failed", message=message or repr(error))
            raise
        log.info("%s in %.1f s", "ran" if ran else "reused", time.monotonic() - clock)
        tell("ran" if ran else "reused", key=record.key)
    _write(call, record, store, ran)
    return record, ran


def _node(pipeline: Pipeline, name: str) -> Node:
    if name not in pipeline.nodes:
        message = f"the spec has no stage {name!r}{closest(name, list(pipeline.nodes))}"
        raise SpecError([Mistake("--stage", "", message)])
    return pipeline.nodes[name]


def _inputs(node: Node, given: Mapping[str, str]) -> dict[str, Any]:
    """The digests of a stage's inputs in the spec's order; every mistake at once."""
    mistakes: list[Mistake] = []
    inputs: dict[str, Any] = {}
    expected: list[str] = []
    for port, label, stage, output in node.references():
        name = port if label is None else f"{port}.{label}"
        expected.append(name)
        digest = given.get(name)
        if digest is None:
            mistakes.append(Mistake("--input", name, f"is missing, expected the digest of {stage}.{output}"))
        elif not DIGEST.fullmatch(digest):
            mistakes.append(Mistake("--input", name, f"got {digest!r}, expected 64 hexadecimal digits"))
        elif label is None:
            inputs[port] = digest
        else:
            inputs.setdefault(port, {})[label] = digest
    for name in given:
        if name not in expected:
            mistakes.append(
                Mistake("--input", name, f"{node.name} takes no such input{closest(name, expected)}")
            )
    if mistakes:
        raise SpecError(mistakes)
    return inputs


def _check_files(node: Node, files: Mapping[str, Path]) -> None:
    known = [*node.component.outputs, KEY, METRICS, SUMMARY]
    mistakes = [
        Mistake("--output", name, f"{node.name} writes no such file{closest(name, known)}")
        for name in files
        if name not in known
    ]
    if mistakes:
        raise SpecError(mistakes)


def _upstream(planner: Planner, node: Node, keys: Mapping[str, str]) -> dict[str, StageRecord]:
    """Records of every stage upstream, for a component that reads them."""
    known: dict[str, StageRecord] = {}
    if not node.component.reads_lineage:
        return known
    nodes = planner.pipeline.nodes
    wanted = ancestors(nodes, node.name)
    for name in order(nodes):
        if name in wanted:
            key = keys.get(name)
            record = planner.store.record(key) if key else planner.step(nodes[name], known).record
            if record is None:
                raise ComponentError(
                    f"{node.name} reads the record of {name}, and the store has none for this spec: "
                    f"run {name} first, or name its stage key with --upstream {name}=KEY"
                )
            known[name] = record
    return known


@contextmanager
def _time_limit(node: Node, tell: Callable[..., None]) -> Iterator[None]:
    """Ends the process when the stage takes longer than its timeout: a container is one attempt."""
    resources = node.stage.resources

    def expire() -> None:
        message = f"took longer than its timeout of {resources.timeout}"
        print(f"millrace: {message}", file=sys.stderr, flush=True)
        try:
            tell("failed", message=message)
        finally:
            os._exit(1)

    if resources.timeout_seconds is None:
        yield
        return
    timer = threading.Timer(resources.timeout_seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Both(io.TextIOBase):
    """A stream that writes everything to two places."""

    def __init__(self, *places: TextIO) -> None:
        self._places = places

    def write(self, text: str) -> int:
        for place in self._places:
            place.write(text)
        return len(text)

    def flush(self) -> None:
        for place in self._places:
            place.flush()


@contextmanager
def _logger(name: str, text: io.StringIO) -> Iterator[logging.Logger]:
    """A logger that writes to standard error, which the cluster keeps, and into a text for the store.

    What is written to standard error beside it, as the lines of a stage's hosts are, goes to both, too.
    """
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), logging.StreamHandler(text)]
    for handler in handlers:
        handler.setFormatter(form)
        root.addHandler(handler)
    for noisy in ("absl", "jax", "orbax", "apache_beam", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        with redirect_stderr(_Both(sys.stderr, text)):
            yield logging.getLogger(name)
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)


def _progress(log: logging.Logger) -> Callable[[dict[str, Any]], None]:
    """Turns progress and metrics into log lines, one every ten seconds."""
    last = time.monotonic()
    latest: dict[str, float] = {}

    def emit(event: dict[str, Any]) -> None:
        nonlocal last
        if event["event"] == "metric":
            if event["step"] is None:
                log.info("%s = %s", event["name"], event["value"])
            else:
                latest[event["name"]] = event["value"]
        elif event["event"] == "progress" and time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            metrics = "".join(f"  {name} {value:.4g}" for name, value in latest.items())
            log.info("%s of %s %s%s", event["done"], event["total"], event["unit"], metrics)

    return emit


def _write(call: StageCall, record: StageRecord, store: Store, ran: bool) -> None:
    """Writes digests, key, metrics and summary to the files that the caller named."""
    metrics = {name: record.metrics[name] for name in sorted(record.metrics)}
    contents = {port: output["digest"] for port, output in record.outputs.items()}
    contents[KEY] = record.key
    contents[METRICS] = json.dumps(metrics, indent=1)
    for name, path in call.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == SUMMARY:
            from millrace.pipelines.stages.stage_summary import summary

            path.write_text(summary(record, store, ran), encoding="utf-8")
        else:
            path.write_text(contents[name], encoding="utf-8")
    if call.executor_input is not None:
        _write_executor_output(call.executor_input, metrics)


def _write_executor_output(executor_input: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Kubeflow shows metrics that are metadata of an artifact, which only this file can set."""
    outputs = executor_input["outputs"]
    artifact = outputs.get("artifacts", {}).get(METRICS, {}).get("artifacts", [None])[0]
    if artifact is None or not outputs.get("outputFile"):
        return
    path = Path(outputs["outputFile"])
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {"artifacts": {METRICS: {"artifacts": [{**artifact, "metadata": metrics}]}}}
    path.write_text(json.dumps(value), encoding="utf-8")
