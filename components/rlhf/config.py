"""Configuration and ports of ``rlhf``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millrace.components.contract import Component, Port, runtime
from millrace.components.training.settings import FittingConfig, LearningRate, WarmupSteps, keeps_memory


class RlhfConfig(FittingConfig):
    """Settings of ``rlhf``."""

    steps: int = Field(default=40, ge=1, description="Updates of the policy.")
    prompts_per_step: int = Field(default=8, ge=1, description="Prompts answered in a step.")
    samples_per_prompt: int = Field(
        default=4, ge=2, description="Answers to each; the others are each one's baseline."
    )
    beta: float = Field(
        default=0.05, ge=0, description="Price of one nat of divergence from the start, in reward units."
    )
    learning_rate: LearningRate = 1e-4
    warmup_steps: WarmupSteps = 3
    max_new_tokens: int = Field(default=48, ge=4, description="Longest answer.")
    max_prompt_tokens: int = Field(default=128, ge=8, description="Longer prompts are left out, and counted.")
    rule: Literal["docstring", "text"] = Field(
        default="docstring",
        description="Rules that answers must keep: `docstring` also asks that Python parses the answer as one.",
    )
    rule_weight: float = Field(default=1.0, ge=0, description="Say of the checkable rules; 0 turns them off.")
    min_answer_characters: int = Field(default=8, ge=1, description="Shorter answers break the length rule.")
    max_answer_characters: int = Field(default=600, ge=1, description="Longer answers break the length rule.")
    held_out_prompts: int = Field(default=48, ge=2, description="Held-out prompts answered before and after.")
    held_out_samples: int = Field(default=2, ge=1, description="Answers to each of them.")
    min_distinct_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Fail when fewer of the held-out answers are distinct: the policy collapsed.",
    )
    checkpoint_every_steps: int = runtime(10, ge=1, description="Steps between checkpoints.")
    log_every_steps: int = runtime(1, ge=1, description="Steps between live metrics.")

    @model_validator(mode="after")
    def _some_length_fits(self) -> RlhfConfig:
        if self.min_answer_characters > self.max_answer_characters:
            raise ValueError(
                f"got min_answer_characters {self.min_answer_characters} and max_answer_characters "
                f"{self.max_answer_characters}, expected no more than that"
            )
        return self


COMPONENT = Component(
    name="rlhf",
    summary="Leave-one-out REINFORCE with a KL term; reward from weighted heads and checkable rules.",
    config=RlhfConfig,
    inputs={
        "policy": Port("model", "The model to train, and the reference it is held to."),
        "reward": Port("reward_model", "What judges the answers."),
        "tokenizer": Port("tokenizer", "The models' tokenizer."),
        "prompts": Port("chats", "Conversations whose last answer is left to the policy."),
    },
    outputs={
        "model": Port("model", "The trained policy."),
        "report": Port("report", "Reward and KL curves, figures before and after, answers to read."),
    },
    run="millrace.components.rlhf.stage:run",
    key_metric="reward_after",
    several_hosts=True,
    keeps_memory=keeps_memory,
)
