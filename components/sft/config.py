"""Configuration and ports of ``sft``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import Component, Config, Port, runtime


class SftConfig(Config):
    """Settings of ``sft``."""

    epochs: float = Field(2.0, gt=0, le=100, description="Passes over the chats; may be a fraction.")
    batch_size: int = Field(8, ge=1, le=4096, description="Packed rows per step.")
    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(5, ge=0, description="Steps of linear rise.")
    decay: Literal["stable", "cosine", "constant"] = Field("cosine", description="Schedule after warmup.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
    router_balance_loss: float = Field(
        0.01, ge=0, description="Weight of the balance loss of experts' routers, where the model has experts."
    )
    router_z_loss: float = Field(0.001, ge=0, description="Weight of the routers' z-loss.")
    max_sequence_tokens: int | None = Field(
        None, ge=8, description="Tokens per row, and of the longest chat; the model's own by default."
    )
    evaluate_every_steps: int = Field(50, ge=1, description="Steps between held-out measurements.")
    held_out_chats: int = Field(200, ge=1, description="Most held-out chats that are measured.")
    checkpoint_every_steps: int = runtime(50, ge=1, description="Steps between checkpoints.")
    log_every_steps: int = runtime(10, ge=1, description="Steps between live metrics.")


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
)
