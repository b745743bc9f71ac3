"""The plan: for each stage reuse or run, and why.

The same ``Planner.step`` decides before a run, when upstream outputs may still be unknown, and during one, when they
are there. A stage downstream of one that runs is planned as ``run`` because its inputs are expected to change; if the
bytes come out the same after all, the engine finds its key in the store and reuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from millrace.components.contract import Upstream
from millrace.pipelines.spec.graph import ancestors, order
from millrace.pipelines.spec.models import Node, Pipeline
from millrace.pipelines.store.errors import StoreError
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store

from .code_identity import CodeIndex, changes
from .differences import differences
from .identity import Identity, InputDigests, identify

Action = Literal["reuse", "run"]
LOOK_BACK_RUNS = 50


@dataclass(frozen=True)
class StagePlan:
    """The plan of one stage.

    Attributes:
        name: The stage.
        action: Reuse or run.
        reasons: Why it runs, most telling first; empty when reused.
        identity: What its bytes depend on, or None while an input is unknown.
        record: The record to reuse, or None.
        previous: The record of its latest run in this store, or None.
    """

    name: str
    action: Action
    reasons: tuple[str, ...] = ()
    identity: Identity | None = None
    record: StageRecord | None = None
    previous: StageRecord | None = None

    @property
    def estimate_seconds(self) -> float | None:
        """How long it took the last time, if it has to run."""
        return self.previous.seconds if self.action == "run" and self.previous else None


@dataclass
class Planner:
    """Plans one pipeline against one store."""

    pipeline: Pipeline
    store: Store
    code: CodeIndex = field(default_factory=CodeIndex)
    notes: list[str] = field(default_factory=list)  # of what it could not read, and went on without
    _previous: dict[str, StageRecord] | None = None

    def plan(self, names: Iterable[str] | None = None) -> list[StagePlan]:
        """The plan of every stage, or of the named ones and all that they need, in running order."""
        known: dict[str, StageRecord] = {}
        plans = []
        for name in order(self.pipeline.nodes):
            step = self.step(self.pipeline.nodes[name], known)
            if step.record is not None:
                known[name] = step.record
            plans.append(step)
        self.code.save()
        wanted = set(self.pipeline.nodes if names is None else names)
        return [step for step in plans if step.name in wanted]

    def step(self, node: Node, known: Mapping[str, StageRecord], *, read: bool = False) -> StagePlan:
        """Decides on one stage.

        Args:
            node: The stage.
            known: Records of the stages whose outputs are there.
            read: Whether artifacts that this machine has not seen yet are read to tell whether they are damaged.
        """
        previous = self.previous().get(node.name)
        waiting = [(port, stage) for port, _, stage, _ in node.references() if stage not in known]
        if node.component.reads_lineage:
            waiting += [
                ("lineage", stage)
                for stage in ancestors(self.pipeline.nodes, node.name)
                if stage not in known
            ]
        if waiting:
            stages = list(dict.fromkeys(stage for _, stage in waiting))
            reasons = [
                f"{port} comes from {stage}, which runs" for port, stage in waiting if port != "lineage"
            ]
            if not reasons:
                reasons = [f"reads the lineage of {', '.join(stages)}, which runs"]
            return StagePlan(
                node.name, "run", (*self._own_reasons(node, previous), *reasons), None, None, previous
            )
        inputs = input_digests(node, known)
        current = self._identify(node, inputs, self.lineage(node, known))
        record = self.store.record(current.key)
        lost = self.store.lost(record, read=read) if record else None
        if record is not None and lost is None:
            return StagePlan(node.name, "reuse", (), current, record, previous)
        reasons = [lost] if lost else self._reasons(current, previous)
        return StagePlan(node.name, "run", tuple(reasons), current, None, previous)

    def lineage(self, node: Node, known: Mapping[str, StageRecord]) -> tuple[Upstream, ...]:
        """Records of all stages upstream of one, in an order that does not depend on the spec's."""
        wanted = ancestors(self.pipeline.nodes, node.name)
        return tuple(
            Upstream(
                stage=name,
                component=known[name].component,
                config=known[name].config,
                outputs={port: output["digest"] for port, output in known[name].outputs.items()},
                metrics=known[name].metrics,
            )
            for name in order(dict(sorted(self.pipeline.nodes.items())))
            if name in wanted and name in known
        )

    def previous(self) -> Mapping[str, StageRecord]:
        """The latest record of every stage of this pipeline, from its newest runs."""
        if self._previous is None:
            found: dict[str, StageRecord] = {}
            for run in reversed(self.store.run_ids()[-LOOK_BACK_RUNS:]):
                try:
                    state = self.store.read_run(run) or {}
                except StoreError as error:
                    self.notes.append(str(error))
                    continue
                if state.get("pipeline") != self.pipeline.spec.name:
                    continue
                for name, stage in state.get("stages", {}).items():
                    if name not in found and stage.get("key") and stage.get("status") in ("ran", "reused"):
                        record = self.store.record(stage["key"])
                        if record is not None:
                            found[name] = record
                if self.pipeline.nodes.keys() <= found.keys():
                    break
            self._previous = found
        return self._previous

    def _identify(self, node: Node, inputs: InputDigests, lineage: tuple[Upstream, ...]) -> Identity:
        return identify(node, self.pipeline.spec.seed, inputs, lineage, self.code, self.pipeline.folder)

    def _own_reasons(self, node: Node, previous: StageRecord | None) -> list[str]:
        """The changes in the stage itself, while its inputs are still unknown."""
        if previous is None:
            return []
        expected = self._identify(node, previous.inputs, ())
        return [
            reason
            for reason in self._reasons(expected, previous, lineage=False)
            if not reason.startswith(("its artifact", "recorded by"))
        ]

    def _reasons(self, current: Identity, previous: StageRecord | None, lineage: bool = True) -> list[str]:
        if previous is None:
            return ["never run in this store"]
        if previous.component != current.component:
            return [f"uses {previous.component} -> {current.component}"]
        reasons = [f"config {line}" for line in differences(previous.config, current.config)]
        reasons += [f"code {line}" for line in changes(previous.modules, current.code.modules)]
        reasons += [f"outside data {line}" for line in differences(previous.fingerprint, current.fingerprint)]
        if previous.seed != current.seed:
            reasons.append(f"seed {previous.seed} -> {current.seed}")
        reasons += [
            f"input {line}" for line in differences(_shortened(previous.inputs), _shortened(current.inputs))
        ]
        if lineage and not reasons and previous.lineage != current.lineage:
            reasons.append("the records of stages upstream changed")
        return reasons or [
            self.store.lost(previous) or "recorded by a version of Millrace that computed keys in another way"
        ]


def input_digests(node: Node, known: Mapping[str, StageRecord]) -> dict[str, Any]:
    """Port -> digest, or label -> digest, of a stage whose upstream stages are all known."""
    inputs: dict[str, Any] = {}
    for port, label, stage, output in node.references():
        digest = known[stage].outputs[output]["digest"]
        if label is None:
            inputs[port] = digest
        else:
            inputs.setdefault(port, {})[label] = digest
    return inputs


def _shortened(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        port: value[:12]
        if isinstance(value, str)
        else {label: digest[:12] for label, digest in value.items()}
        for port, value in inputs.items()
    }
