"""Configuration and ports of ``distill``."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import Field

from millrace.components.contract import Component, Config, Port
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture import proposed_weights

TEACHERS = ("teacher", "teacher_logits")


class DistillationConfig(Config):
    """How the teacher counts."""

    temperature: float = Field(
        default=1.0, gt=0, description="Softens both distributions: more shows more of the improbable tokens."
    )
    weight: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Of the divergence; the loss on the tokens themselves has the rest of 1.",
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="Tokens compared one by one, all others together; null is the whole vocabulary, or as many as "
        "teacher_logits holds.",
    )


class DistillConfig(PretrainConfig):
    """Settings of ``distill``: those of ``pretrain``, and the teacher's part."""

    distillation: DistillationConfig = Field(
        default_factory=DistillationConfig, description="How the teacher counts."
    )


def misfits(config: DistillConfig, ports: Collection[str]) -> Iterator[str]:
    """Mistakes of phases and inputs taken together, and a teacher that is missing or given twice."""
    yield from proposed_weights.misfits(config, ports)
    given = [port for port in TEACHERS if port in ports]
    if len(given) != 1:
        yield (
            f"got {' and '.join(given) or 'neither teacher nor teacher_logits'} as input, expected exactly one of teacher "
            "and teacher_logits"
        )


COMPONENT = Component(
    name="distill",
    summary="Trains a decoder from scratch on token streams and a teacher's distributions.",
    config=DistillConfig,
    inputs={
        "tokens": Port("tokens", "token streams by source"),
        "tokenizer": Port("tokenizer", "the tokenizer that made them, and that the teacher was trained with"),
        "teacher": Port("model", "a model that reads every batch; or take teacher_logits", optional=True),
        "teacher_logits": Port("teacher_logits", "what a teacher said of every batch", optional=True),
        "benchmarks": Port("benchmarks", "held-out text for bits per byte", optional=True),
        proposed_weights.PORT: Port("mixture", "weights for phases that say proposed", optional=True),
    },
    outputs={
        "model": Port("model", "the trained decoder"),
        "report": Port("report", "loss curves and held-out bits per byte"),
        "states": Port("states", "training states to begin a replay with, see keep_state_every_steps"),
    },
    run="millrace.components.distill.stage:run",
    key_metric="bits_per_byte",
    misfits=misfits,
    seed_of="pretrain",
)
