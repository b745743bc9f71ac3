"""Configuration and ports of ``sft``."""

from __future__ import annotations

from pydantic import Field

from millrace.components.contract import Component, Port
from millrace.components.training.settings import (
    ClipNorm,
    Decay,
    FittingConfig,
    LearningRate,
    RouterBalanceLoss,
    RouterZLoss,
    WarmupSteps,
    WeightDecay,
    keeps_memory,
)


class SftConfig(FittingConfig):
    """Settings of ``sft``."""

    epochs: float = Field(default=2.0, gt=0, le=100, description="Passes over the chats; may be a fraction.")
    batch_size: int = Field(default=8, ge=1, le=4096, description="Packed rows per step.")
    learning_rate: LearningRate = 5e-4
    warmup_steps: WarmupSteps = 5
    decay: Decay = "cosine"
    weight_decay: WeightDecay = 0.0
    clip_norm: ClipNorm = 1.0
    router_balance_loss: RouterBalanceLoss = 0.01
    router_z_loss: RouterZLoss = 0.001
    max_sequence_tokens: int | None = Field(
        default=None, ge=8, description="Tokens per row, and of the longest chat; the model's own by default."
    )
    evaluate_every_steps: int = Field(default=50, ge=1, description="Steps between held-out measurements.")
    held_out_chats: int = Field(default=200, ge=1, description="Most held-out chats that are measured.")


COMPONENT = Component(
    name="sft",
    summary="Fine-tunes a model on chats, with the loss on answers only.",
    config=SftConfig,
    inputs={
        "model": Port("model", "the model to start from"),
        "tokenizer": Port("tokenizer", "its tokenizer"),
        "chats": Port("chats", "conversations to learn from, and held-out ones"),
    },
    outputs={
        "model": Port("model", "the fine-tuned model"),
        "report": Port("report", "losses before and after, and what was cut"),
    },
    run="millrace.components.sft.stage:run",
    key_metric="held_out_loss",
    several_hosts=True,
    keeps_memory=keeps_memory,
)
