"""Runs one stage against a store, for a local child process and a container alike.

Look in the store, run into private folders, publish every output, write the record. Each step can be repeated after
``kill -9``: outputs start empty at every attempt, the component's work folder survives, and the record comes last.
"""

from __future__ import annotations

import importlib.metadata
import logging
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

from millrace.components import registry
from millrace.components.contract import Artifact, ComponentError, Inputs, Upstream
from millrace.pipelines.plan import identity
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store

from . import hosts
from .context import StageContext
from .request import Request

RECORDED = (
    "millrace",
    "apache-beam",
    "flax",
    "jax",
    "jaxlib",
    "numba",
    "numpy",
    "optax",
    "pyarrow",
    "sentencepiece",
)


def execute(
    request: Request, emit: Callable[[dict[str, Any]], None], log: logging.Logger
) -> tuple[StageRecord, bool]:
    """Runs a stage, or finds that somebody else has.

    Args:
        request: What to run.
        emit: Takes metric and progress events.
        log: The stage's log.

    Returns:
        The stage's record, and whether this call ran it.

    Raises:
        ComponentError: The stage cannot go on and the user can mend it.
    """
    store = Store(request.store, request.store_timeout_seconds)
    component = registry.get(request.component)
    with store.lock(request.key) as folder:
        record = store.reusable(request.key)
        if record is not None:
            shutil.rmtree(folder, ignore_errors=True)  # the lock made it anew
            return record, False
        outputs = {port: folder / "outputs" / port for port in component.outputs}
        shutil.rmtree(folder / "outputs", ignore_errors=True)
        for path in outputs.values():
            path.mkdir(parents=True)
        work = folder / "work"
        work.mkdir(exist_ok=True)
        started, clock = time.time(), time.monotonic()
        context = StageContext(
            seed=identity.stage_seed(request.seed, request.component),
            work=work,
            outputs=outputs,
            emit=emit,
            log=log,
            lineage=tuple(Upstream(**record) for record in request.lineage or ()),
            beam_runner=request.beam_runner,
            beam_options=request.beam_options,
        )
        config = component.config.model_validate(request.config)
        inputs = stage_inputs(request, store)
        if hosts.needs_supervisor(component, config, request.hosts):
            hosts.run(request, context, emit, work, outputs)
        else:
            registry.run_of(component)(context, config, inputs)
        for port, path in outputs.items():
            if not any(path.iterdir()):
                raise ComponentError(
                    f"{component.name} wrote nothing to its output {port!r}; this is a defect of the component"
                )
        versions = installed_versions()
        producer = {
            "pipeline": request.pipeline,
            "run": request.run,
            "stage": request.stage,
            "key": request.key,
            "component": request.component,
            "config": request.semantic,
            "seed": request.seed,
            "inputs": request.input_digests(),
            "code": request.code,
            "metrics": context.metrics,
            "versions": versions,
        }
        published = {
            port: {
                "digest": store.publish(path, component.outputs[port].kind, {**producer, "port": port}),
                "kind": component.outputs[port].kind,
            }
            for port, path in outputs.items()
        }
        record = StageRecord(
            key=request.key,
            stage=request.stage,
            component=request.component,
            config=request.semantic,
            seed=request.seed,
            inputs=request.input_digests(),
            fingerprint=request.fingerprint,
            code=request.code,
            modules=request.modules,
            outputs=published,
            metrics=context.metrics,
            run=request.run,
            started=started,
            seconds=time.monotonic() - clock,
            peak_bytes=_peak_bytes(),
            versions=versions,
            lineage=request.lineage,
        )
        store.write_record(record)
        shutil.rmtree(folder, ignore_errors=True)
    return record, True


def stage_inputs(request: Request, store: Store) -> Inputs:
    """The artifacts that a stage is given, in local folders.

    Raises:
        ComponentError: The store has one of them no more.
        DamagedError: One of them is not as it was written.
    """

    def artifact(value: Mapping[str, str]) -> Artifact:
        digest = value["digest"]
        manifest = store.manifest(digest)
        if manifest is None:
            raise ComponentError(
                f"the store has no artifact {digest[:12]} that {value['stage']} made; run that stage again"
            )
        return Artifact(path=store.take(digest), kind=manifest["kind"], digest=digest, stage=value["stage"])

    ports: dict[str, Artifact | dict[str, Artifact]] = {}
    for port, value in request.inputs.items():
        ports[port] = (
            artifact(value) if "digest" in value else {label: artifact(item) for label, item in value.items()}
        )
    return Inputs(ports)


def _peak_bytes() -> int:
    """Peak memory of this process, or of its largest host."""
    return 1024 * max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def installed_versions() -> dict[str, str]:
    """Distribution -> version, of those whose versions a record names."""
    found = {}
    for name in RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
