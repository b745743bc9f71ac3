"""Runs one stage against a store: what a local child process and a container both do.

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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.components import registry
from millrace.components.contract import Artifact, ComponentError, Inputs, Upstream
from millrace.pipelines.plan import identity
from millrace.pipelines.plan.identity import Identity
from millrace.pipelines.store.store import StageRecord, Store

from . import hosts
from .context import StageContext

if TYPE_CHECKING:
    from millrace.pipelines.spec.models import Node, Pipeline

RECORDED = (
    "millrace",
    "apache-beam",
    "flax",
    "jax",
    "jaxlib",
    "numba",
    "numpy",
    "optax",
    "orbax-checkpoint",
    "pyarrow",
    "sentencepiece",
)


@dataclass(frozen=True)
class Request:
    """Everything that running one stage takes, as JSON values.

    Attributes:
        store: The store's URI.
        run: The run's id.
        pipeline: The spec's name.
        stage: The stage's name.
        component: The component's name.
        key: The stage key.
        config: The whole configuration, runtime fields too.
        semantic: The part of it that counts.
        seed: The spec's seed.
        inputs: Port -> {"stage", "digest"}, or label -> that.
        code: Digest of the code.
        modules: Module -> definition -> digest.
        fingerprint: What the component reads outside the store.
        lineage: Upstream records, for components that read them, else None.
        beam_runner: Beam runner's name, or None.
        beam_options: Beam pipeline options.
        hosts: Processes that run it together.
        retries: How often these start again after a crash; a stage of one process is started again by its engine.
    """

    store: str
    run: str
    pipeline: str
    stage: str
    component: str
    key: str
    config: Mapping[str, Any]
    semantic: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, Any]
    code: str
    modules: Mapping[str, Mapping[str, str]]
    fingerprint: Any = None
    lineage: Any = None
    beam_runner: str | None = None
    beam_options: Mapping[str, Any] = field(default_factory=dict)
    hosts: int = 1
    retries: int = 0

    def input_digests(self) -> dict[str, Any]:
        """Port -> digest, or label -> digest."""
        return {
            port: value["digest"]
            if "digest" in value
            else {label: item["digest"] for label, item in value.items()}
            for port, value in self.inputs.items()
        }


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
    store = Store(request.store)
    component = registry.get(request.component)
    with store.lock(request.key) as folder:
        record = store.reusable(request.key)
        if record is not None:
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
            component.run(context, config, inputs)
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
    """

    def artifact(value: Mapping[str, str]) -> Artifact:
        digest = value["digest"]
        manifest = store.manifest(digest)
        if manifest is None:
            raise ComponentError(
                f"the store has no artifact {digest[:12]} that {value['stage']} made; run that stage again"
            )
        return Artifact(path=store.folder(digest), kind=manifest["kind"], digest=digest, stage=value["stage"])

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


def request_for(pipeline: Pipeline, store: Store, node: Node, current: Identity, run: str) -> Request:
    """The request of a stage whose identity is known: the same for a child process and for a container.

    Args:
        pipeline: The pipeline.
        store: Its store.
        node: The stage.
        current: What its bytes depend on.
        run: The run's id.
    """
    inputs: dict[str, Any] = {}
    for port, label, stage, _ in node.references():
        given = current.inputs[port]
        if label is None:
            inputs[port] = {"stage": stage, "digest": given}
        elif isinstance(given, Mapping):
            inputs.setdefault(port, {})[label] = {"stage": stage, "digest": given[label]}
    beam = node.stage.beam or pipeline.spec.beam
    return Request(
        store=str(Path(store.uri).absolute()) if store.is_local else store.uri,
        run=run,
        pipeline=pipeline.spec.name,
        stage=node.name,
        component=node.component.name,
        key=current.key,
        config=node.config.model_dump(mode="json", by_alias=True),
        semantic=current.config,
        seed=current.seed,
        inputs=inputs,
        code=current.code.digest,
        modules=current.code.modules,
        fingerprint=current.fingerprint,
        lineage=current.lineage,
        beam_runner=beam.runner,
        beam_options=beam.options,
        hosts=node.stage.resources.hosts,
        retries=node.stage.resources.retries,
    )


def to_json(request: Request) -> dict[str, Any]:
    """The request as JSON values."""
    return asdict(request)
