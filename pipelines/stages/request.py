"""The request for one stage: everything that running it takes, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.pipelines.plan.identity import Identity
from millrace.pipelines.store.store import TIMEOUT_SECONDS, Store

if TYPE_CHECKING:
    from millrace.pipelines.spec.models import Node, Pipeline


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
        store_timeout_seconds: How long an object store is tried again.
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
    store_timeout_seconds: float = TIMEOUT_SECONDS

    def input_digests(self) -> dict[str, Any]:
        """Port -> digest, or label -> digest."""
        return {
            port: value["digest"]
            if "digest" in value
            else {label: item["digest"] for label, item in value.items()}
            for port, value in self.inputs.items()
        }


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
        store_timeout_seconds=pipeline.store_timeout_seconds,
    )


def to_json(request: Request) -> dict[str, Any]:
    """The request as JSON values."""
    return asdict(request)
