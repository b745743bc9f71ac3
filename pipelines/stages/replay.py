"""Replaying a finished stage of a run: its recorded configuration, seed and inputs, taken from the store."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from millrace.components import registry
from millrace.components.contract import Artifact, ComponentError, Inputs
from millrace.components.training.digests import Difference
from millrace.pipelines.plan import identity
from millrace.pipelines.plan.code_identity import CodeIndex, changes
from millrace.pipelines.spec.models import closest
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store
from millrace.pipelines.trace.order import TRAIN_ON_TOKENS, recorded_config
from millrace.pipelines.trace.runs import Run

from .context import StageContext
from .execute import installed_versions


@dataclass(frozen=True)
class Replay:
    """A replay's result.

    Attributes:
        run: The run's id.
        stage: The stage.
        equal: Whether every compared step is the same, bit for bit.
        first_step: First step that was compared, from 0.
        end_step: The first that was not.
        begun_with: The step of the kept state that execution began with, or 0.
        difference: The first that differs, or None.
        versions: Distribution -> (version then, version now), of those that differ.
        code: Changes of the stage's code since then.
    """

    run: str
    stage: str
    equal: bool
    first_step: int
    end_step: int
    begun_with: int
    difference: Difference | None
    versions: Mapping[str, tuple[str, str]]
    code: tuple[str, ...]


def replay(run: Run, stage: str, first_step: int, end_step: int | None, log: logging.Logger) -> Replay:
    """Executes steps of a stage again and compares them with what its report recorded.

    Args:
        run: The run that is asked about.
        stage: The stage's name.
        first_step: First step to compare, from 0.
        end_step: The first not to compare, or None.
        log: The training's log.

    Raises:
        ComponentError: There is no such stage, it does not train, or it recorded nothing in the range.
    """
    from millrace.components.training import digests
    from millrace.components.training import replay as comparing

    record = _record(run, stage)
    config = recorded_config(run, stage, record.component, record.config)
    report = run.store.take(record.outputs["report"]["digest"]) / digests.FILE
    recorded = digests.read(report) if report.exists() else []
    states = run.store.take(record.outputs["states"]["digest"]) if "states" in record.outputs else None
    with tempfile.TemporaryDirectory() as work:
        context = StageContext(
            seed=identity.stage_seed(record.seed, record.component),
            work=Path(work),
            outputs={},
            emit=lambda event: None,
            log=log,
        )
        found = comparing.replay(
            record.component,
            context,
            config,
            _inputs(run.store, record),
            recorded,
            first_step,
            end_step,
            states,
        )
    now = installed_versions()
    versions = {
        name: (version, now.get(name, "none"))
        for name, version in sorted(record.versions.items())
        if version != now.get(name)
    }
    code = changes(record.modules, CodeIndex().of(*registry.modules_of(record.component)).modules)
    return Replay(
        run.run,
        stage,
        found.difference is None,
        found.first_step,
        found.end_step,
        found.begun_with,
        found.difference,
        versions,
        tuple(code),
    )


def _record(run: Run, stage: str) -> StageRecord:
    found = next((known for known in run.stages if known.stage == stage), None)
    if found is None:
        names = [known.stage for known in run.stages]
        raise ComponentError(f"the run {run.run} has no finished stage {stage!r}{closest(stage, names)}")
    if found.component not in TRAIN_ON_TOKENS:
        raise ComponentError(
            f"got {stage}, a stage of {found.component}, expected one of {' or '.join(TRAIN_ON_TOKENS)}: only their steps "
            "are recorded"
        )
    record = run.store.record(found.key)
    if record is None:
        raise ComponentError(f"the store has no record of {stage} of the run {run.run}; run it again")
    return record


def _inputs(store: Store, record: StageRecord) -> Inputs:
    ports: dict[str, Artifact | Mapping[str, Artifact]] = {}
    for port, digest in record.inputs.items():
        manifest = store.manifest(digest)
        if manifest is None:
            raise ComponentError(
                f"the store no longer has {digest[:12]}, the {port} of {record.stage}; run the stages before it again"
            )
        ports[port] = Artifact(store.take(digest), manifest["kind"], digest, manifest["producer"]["stage"])
    return Inputs(ports)
