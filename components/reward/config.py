"""Configuration and ports of ``reward``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import Component, Port
from millrace.components.training.settings import (
    FittingConfig,
    LearningRate,
    WarmupSteps,
    WeightDecay,
    keeps_memory,
)


class RewardConfig(FittingConfig):
    """Settings of ``reward``."""

    weights: dict[str, float] = Field(
        default_factory=dict,
        description="Head -> its say in the reward, in standard deviations; heads left out weigh 1.",
    )
    epochs: float = Field(
        default=2.0, gt=0, le=100, description="Passes over the training pairs; may be a fraction."
    )
    batch_size: int = Field(default=16, ge=1, le=4096, description="Pairs in a step.")
    learning_rate: LearningRate = 3e-4
    warmup_steps: WarmupSteps = 10
    weight_decay: WeightDecay = 0.1
    max_sequence_tokens: int | None = Field(
        default=None,
        ge=8,
        description="Pairs with a longer exchange are left out, and counted; the model's own limit by default.",
    )
    unproven_heads: Literal["drop", "keep"] = Field(
        default="drop",
        description="Whether a head whose held-out accuracy cannot be told from chance gets no say or its weight.",
    )


COMPONENT = Component(
    name="reward",
    summary="Pairwise (Bradley-Terry) reward model with several heads and a weighted sum.",
    config=RewardConfig,
    inputs={
        "model": Port("model", "Where the trunk starts: the model that will be trained with the reward."),
        "tokenizer": Port("tokenizer", "The model's tokenizer."),
        "preferences": Port("preferences", "Pairs of answers, each labelled with the head that it teaches."),
    },
    outputs={
        "reward": Port("reward_model", "Trunk, heads and how to combine them."),
        "report": Port("report", "Held-out accuracy per head with 95% intervals, and the loss curve."),
    },
    run="millrace.components.reward.stage:run",
    key_metric="accuracy",
    several_hosts=True,
    keeps_memory=keeps_memory,
)
