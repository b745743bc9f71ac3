"""The order in which training stages read their tokens: worked out from a stage's record once, then kept in the index.

Reading a record's configuration imports the models of its component, which takes 0.1 s, and gives a few
numbers. They belong to the stage key, which stands for the configuration, the seed and the code, so they never change; the
index forgets them with the stage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from millrace.pipelines.index import lineage

from .errors import TraceError

if TYPE_CHECKING:
    from millrace.components.training.config import PretrainConfig
    from millrace.data.training.mixture import Mixture

    from .runs import Run, RunStage

TRAIN_ON_TOKENS = ("pretrain", "distill")


def training_stages(run: Run) -> list[tuple[RunStage, str]]:
    """Stages that train on token streams, each with the digest of its tokens."""
    found = []
    for stage in run.stages:
        if stage.component in TRAIN_ON_TOKENS:
            found += [(stage, digest) for digest, kind in run.inputs(stage).values() if kind == "tokens"]
    return found


def mixture_of(run: Run, stage: RunStage, tokens: str) -> Mixture:
    """The sampler that a training stage read its batches with.

    Raises:
        TraceError: This version does not read the stage's configuration.
    """
    from millrace.data.training.mixture import Mixture, Phase

    rows = run.rows("SELECT plan FROM orders WHERE key = ? AND tokens = ?", stage.key, tokens)
    plan = json.loads(rows[0]["plan"]) if rows else _plan(run, stage, tokens)
    if not rows:
        lineage.keep(
            run.index, "INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", stage.key, tokens, json.dumps(plan)
        )
    phases = [Phase(**phase) for phase in plan["phases"]]
    return Mixture(plan["seed"], plan["batch_size"], phases, plan["source_tokens"])


def _plan(run: Run, stage: RunStage, tokens: str) -> dict[str, Any]:
    """The arguments of a mixture, by name."""
    from millrace.components.training.mixture import proposed_weights, reading
    from millrace.pipelines.plan import identity

    with run.store.open_file(tokens, "index.json") as handle:
        index = json.loads(handle.read())
    source_tokens = {name: entry["tokens"] for name, entry in index["sources"].items()}
    config = recorded_config(run, stage.stage, stage.component, stage.config)
    for digest, kind in run.inputs(stage).values():
        if kind == "mixture":
            with run.store.open_file(digest, proposed_weights.FILE) as handle:
                config = config.with_proposed(proposed_weights.parse(handle.read().decode()))
    seed = identity.stage_seed(stage.seed, stage.component)
    mixture = reading.plan(config, seed, source_tokens, index["vocab_size"])
    return {
        "seed": seed,
        "batch_size": config.batch_size,
        "phases": [asdict(phase) for phase in mixture.phases],
        "source_tokens": source_tokens,
    }


def recorded_config(run: Run, stage: str, component: str, config: Mapping[str, Any]) -> PretrainConfig:
    """The configuration that a training stage of one of ``TRAIN_ON_TOKENS`` ran with.

    Raises:
        TraceError: This version does not read it.
    """
    from pydantic import ValidationError

    from millrace.components import registry

    try:
        return cast("PretrainConfig", registry.get(component).config.model_validate(config))
    except ValidationError as error:
        raise TraceError(
            f"the run {run.run} trained {stage} with a configuration that this version does not read "
            f"({error.error_count()} differences), so its steps cannot be computed; use the version that ran it"
        ) from None
