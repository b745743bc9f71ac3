"""Configuration and ports of ``teacher_logits``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.components.contract import Component, Port, runtime
from millrace.components.training import mesh as device_mesh
from millrace.components.training.mixture import proposed_weights
from millrace.components.training.mixture.phases import MixtureConfig


class TeacherLogitsConfig(MixtureConfig):
    """Settings of ``teacher_logits``; the order of reading must be that of the stages which read them."""

    tokens: Annotated[int, Field(ge=1)] | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]  # narrower
        default=None, description="Training tokens of phases with shares."
    )
    top_k: int = Field(
        default=64,
        ge=1,
        description="Tokens that are stored of each position, beside one number for all others.",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="Divides the teacher's logits; the students' temperature."
    )
    shard_tokens: int = Field(
        default=2**20,
        ge=1,
        description="Positions in a file, and the most that a kill makes the teacher read again.",
    )
    mesh: device_mesh.MeshConfig = runtime(
        device_mesh.MeshConfig(), description="Devices along each axis; all of them by default."
    )


COMPONENT = Component(
    name="teacher_logits",
    summary="Stores a teacher's most probable next tokens for every position that a distillation reads.",
    config=TeacherLogitsConfig,
    inputs={
        "tokens": Port("tokens", "token streams by source"),
        "tokenizer": Port("tokenizer", "the tokenizer that made them, and that the teacher was trained with"),
        "teacher": Port("model", "the model to learn from"),
        proposed_weights.PORT: Port("mixture", "weights for phases that say proposed", optional=True),
    },
    outputs={
        "logits": Port("teacher_logits", "its distributions, by training step"),
        "report": Port("report", "how much of them was stored, and its size"),
    },
    run="millrace.components.teacher_logits.stage:run",
    key_metric="top_k_probability",
    misfits=proposed_weights.misfits,
    seed_of="pretrain",
)
