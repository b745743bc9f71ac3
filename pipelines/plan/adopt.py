"""Adopts existing outputs for changed code on a person's word; the record says so."""

from __future__ import annotations

from dataclasses import replace

from millrace.components.contract import ComponentError
from millrace.pipelines.spec.models import closest
from millrace.pipelines.store.record import StageRecord

from .plan import Planner


def adopt_stage(planner: Planner, name: str) -> StageRecord:
    """Writes a record of the stage's present key that points at its latest outputs.

    Args:
        planner: The pipeline and its store.
        name: The stage.

    Returns:
        The new record; ``adopted_from`` names the key that made the outputs.

    Raises:
        ComponentError: There is nothing to adopt, nothing to adopt it for, or more than the code differs.
    """
    nodes = planner.pipeline.nodes
    if name not in nodes:
        raise ComponentError(f"the spec has no stage {name!r}{closest(name, list(nodes))}")
    step = next(step for step in planner.plan() if step.name == name)
    if step.action == "reuse":
        raise ComponentError(f"{name} is reused as it is: there is nothing to adopt")
    if step.identity is None:
        raise ComponentError(f"{name}: {step.reasons[0]}; adopt or run that one first")
    previous = step.previous
    if previous is None or not all(
        planner.store.has(output["digest"]) for output in previous.outputs.values()
    ):
        raise ComponentError(
            f"{name} has no earlier outputs in this store, so there is nothing to adopt; run it"
        )
    current = step.identity
    differing = [reason for reason in step.reasons if not reason.startswith("code ")]
    if differing:
        raise ComponentError(
            f"{name} differs in more than its code ({differing[0]}), so its outputs would be wrong; run it"
        )
    record = replace(
        previous,
        key=current.key,
        stage=name,
        code=current.code.digest,
        modules=current.code.modules,
        adopted_from=previous.key,
    )
    planner.store.write_record(record)
    return record
