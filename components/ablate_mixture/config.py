"""The configuration of ``ablate_mixture``: the proxies, the mixtures to try, the objective, the proposals to verify."""

from __future__ import annotations

from pydantic import Field, model_validator

from millrace.components.contract import Component, Port
from millrace.components.training.config import ModelShape, PhaseConfig, PretrainConfig, TrainingConfig

NEVER = 2**31 - 1


class AblateConfig(TrainingConfig):
    """Settings of ``ablate_mixture``."""

    model: ModelShape = Field(
        default_factory=lambda: ModelShape(preset="tiny"), description="Sizes of a proxy."
    )
    tokens: int = Field(ge=1, description="Training tokens of each proxy.")
    sequence_length_tokens: int = Field(default=256, ge=2, description="Tokens per row.")
    candidates: list[dict[str, float]] = Field(
        default=[], description="Mixtures to try: source -> weight, which need not sum to one."
    )
    samples: int = Field(default=0, ge=0, le=10_000, description="How many more to draw around the prior.")
    prior: dict[str, float] | None = Field(
        default=None, description="The mixture to begin from and to beat; by default in proportion to tokens."
    )
    temperature: float = Field(
        default=2.0,
        ge=1,
        description="Samples are drawn around the prior to the power of 1 over it: 1 is the prior, more is closer to even.",
    )
    concentration: float = Field(
        default=1.0,
        gt=0,
        description="How close samples stay to the prior; below 1 they seek the corners.",
    )
    min_weight: float = Field(default=0.0, ge=0, le=1, description="Smallest weight of any source.")
    target_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens of the training that the weights are for, where max_epochs bounds them; by default a proxy's.",
    )
    objective: dict[str, float] = Field(
        default={}, description="Held-out source -> weight of its bits per byte; by default all are equal."
    )
    verify: int = Field(
        default=1, ge=1, le=100, description="Proposals to train, each from a fit to all proxies before."
    )

    @model_validator(mode="after")
    def _something_to_try(self) -> AblateConfig:
        if not self.candidates and not self.samples:
            raise ValueError("got no candidates and samples 0, expected mixtures to try beside the prior")
        for name, weights in [
            *((f"candidates[{place}]", weights) for place, weights in enumerate(self.candidates)),
            *((("prior", self.prior),) if self.prior is not None else ()),
            *((("objective", self.objective),) if self.objective else ()),
        ]:
            if not any(value > 0 for value in weights.values()) or min(weights.values()) < 0:
                raise ValueError(f"got {name} {weights}, expected some weights above 0, none below")
        self.proxy({"any": 1.0})
        return self

    def proxy(self, weights: dict[str, float]) -> PretrainConfig:
        """The configuration that a proxy is pretrained with."""
        phase = PhaseConfig(
            until_tokens=self.tokens, sequence_length_tokens=self.sequence_length_tokens, weights=weights
        )
        return PretrainConfig(
            **{name: getattr(self, name) for name in TrainingConfig.model_fields},
            phases=[phase],
            evaluate_every_steps=NEVER,
            digest_every_steps=0,
            keep_checkpoints=1,
        )


COMPONENT = Component(
    name="ablate_mixture",
    summary="Trains small proxies on mixtures, and proposes the weights whose held-out loss is smallest.",
    config=AblateConfig,
    inputs={
        "tokens": Port("tokens", "token streams by source"),
        "tokenizer": Port("tokenizer", "the tokenizer that made them"),
        "benchmarks": Port("benchmarks", "held-out text for bits per byte"),
    },
    outputs={
        "mixture": Port("mixture", "the proposed weights"),
        "report": Port("report", "what was tried, fitted, predicted and verified"),
    },
    run="millrace.components.ablate_mixture.stage:run",
    key_metric="objective",
)
