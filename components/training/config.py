"""The configuration of ``pretrain``: the shape, the phases with their mixtures, the optimizer, records and reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from millrace.components.contract import Config
from millrace.components.training.mixture import budget
from millrace.components.training.mixture.phases import MixtureConfig, MixturePhase, RowsConfig

from .settings import (
    ClipNorm,
    Decay,
    FittingConfig,
    GradientConfig,
    RouterBalanceLoss,
    RouterZLoss,
    WeightDecay,
)

if TYPE_CHECKING:
    from millrace.model.network.config import ModelConfig


Preset = Literal[
    "tiny",
    "small",
    "base",
    "nano-1",
    "nano-2",
    "tiny-moe",
    "small-moe",
    "base-moe",
    "nano-1-moe",
    "nano-2-moe",
]


class ModelShape(Config):
    """Sizes of the decoder; the vocabulary comes from the tokenizer, the longest sequence from the phases."""

    preset: Preset | None = Field(
        default=None,
        description="A shape by name (`millrace models` lists them); fields given beside it win.",
    )
    layers: int = Field(default=4, ge=1, le=512, description="Number of decoder layers.")
    model_size: int = Field(default=128, ge=8, description="Width of the residual stream.")
    heads: int = Field(default=4, ge=1, description="Query heads.")
    kv_heads: int = Field(default=1, ge=1, description="Key-value heads: 1 is multi-query attention.")
    head_size: int = Field(default=32, ge=2, description="Width of one head; even.")
    feed_forward_size: int = Field(
        default=384, ge=8, description="Width of the gated feed-forward layer, or of one expert."
    )
    rope_base: float = Field(default=10_000.0, gt=1, description="Base of the rotary frequencies.")
    activation: Literal["gelu", "silu"] = Field(default="gelu", description="Gate: GeGLU or SwiGLU.")
    compute_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Type of matrix products; bfloat16 pays on accelerators only."
    )
    tied_embedding: bool = Field(default=True, description="Whether the embedding also makes the logits.")
    query_key_norm: bool = Field(
        default=False, description="RMSNorm of queries and keys, which steadies attention."
    )
    logit_soft_cap: float | None = Field(default=None, gt=0, description="Bound of the logits by tanh.")
    local_window_tokens: int | None = Field(
        default=None, ge=1, description="Window of local layers; null makes all layers global."
    )
    global_every_layers: int = Field(
        default=6, ge=1, description="With a window, every such layer is global; layers is a multiple of it."
    )
    experts: int = Field(
        default=0, ge=0, description="Feed-forward networks to route between; 0 is a dense model."
    )
    experts_per_token: int = Field(default=2, ge=1, description="Experts that each token goes through.")

    def model_config_for(self, vocab_size: int, max_sequence_tokens: int) -> ModelConfig:
        """The model's configuration."""
        from millrace.model.network.config import ModelConfig

        return ModelConfig(
            vocab_size=vocab_size,
            max_sequence_tokens=max_sequence_tokens,
            **self.model_dump(exclude={"preset"}),
        )

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("preset"):
            return given
        from millrace.model.network.presets import PRESETS

        preset = PRESETS.get(given["preset"])
        if preset is None:
            return given  # the field's own check names the choices
        return {name: getattr(preset, name) for name in cls.model_fields if name != "preset"} | given

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelShape:
        self.model_config_for(1, 1)
        return self


class PhaseConfig(MixturePhase):
    """One stage of the staged mixture, as it is trained."""

    learning_rate: float | None = Field(default=None, gt=0, description="Peak in this phase, if another.")
    rope_base: float | None = Field(
        default=None,
        gt=1,
        description="Base of the rotary frequencies in this phase, if another: more for longer rows.",
    )


class TrainingConfig(RowsConfig, GradientConfig):
    """How a decoder is trained from scratch, whatever it reads: what ``pretrain`` and the proxies of ``ablate_mixture`` share."""

    model: ModelShape = Field(default_factory=ModelShape, description="Sizes of the decoder.")
    accumulate_steps: int = Field(
        default=1,
        ge=1,
        description="Parts of a batch, one after the other; saves memory, changes the last bits.",
    )
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw",
        description="muon takes the hidden matrices and leaves the rest to AdamW, at one learning rate.",
    )
    decay: Decay = "stable"
    decay_fraction: float = Field(
        default=0.4, ge=0, le=1, description="Share of the tokens that fall, if stable."
    )
    final_fraction: float = Field(
        default=0.1, ge=0, le=1, description="Learning rate at the end over its peak."
    )
    weight_decay: WeightDecay = 0.1
    beta2: float = Field(default=0.95, gt=0, lt=1, description="Adam's decay of the second moment.")
    clip_norm: ClipNorm = 1.0
    z_loss: float = Field(
        default=0.0, ge=0, description="Weight of the squared log-normaliser; 1e-4 steadies long trainings."
    )
    router_balance_loss: RouterBalanceLoss = 0.01
    router_z_loss: RouterZLoss = 0.001
    capacity_factor: float | None = Field(
        default=None, gt=0, description="Places of an expert over its even share; null drops no token."
    )
    remat: Literal["none", "dots", "full"] = Field(
        default="none",
        description="What the backward pass computes again: nothing, all but products and flash attention, or all of a "
        "layer.",
    )
    unroll_layers: bool = Field(
        default=False, description="Compile each layer by itself: faster steps on a GPU, slower compilation."
    )
    held_out_bytes_per_source: int = Field(
        default=65_536, ge=256, description="Held-out text used per source."
    )


class PretrainConfig(TrainingConfig, FittingConfig, MixtureConfig):
    """Settings of ``pretrain``."""

    phases: list[PhaseConfig] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]  # phases that are also trained
        min_length=1, description="Mixture by phase, in order."
    )
    tokens: Annotated[int, Field(ge=1)] | Literal["compute_optimal"] | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]  # resolved before it is a mixture
        default=None,
        description="Training tokens of phases with shares; compute_optimal takes 20 per (active) parameter.",
    )
    over_train: float = Field(default=1.0, gt=0, description="Factor on compute_optimal.")
    evaluate_every_steps: int = Field(default=200, ge=1, description="Steps between held-out measurements.")
    digest_every_steps: int = Field(
        default=100,
        ge=0,
        description="Steps between checksums of the parameters for `millrace replay`; 0 records nothing for it.",
    )
    keep_state_every_steps: int = Field(
        default=0,
        ge=0,
        description="Steps between training states that stay in the output `states`, for `millrace replay` to begin with; "
        "0 keeps none.",
    )

    @model_validator(mode="after")
    def _budget_and_parts_fit(self) -> PretrainConfig:
        if self.over_train != 1 and self.tokens != "compute_optimal":
            raise ValueError(
                f"got over_train {self.over_train:g} and tokens {self.tokens}, expected compute_optimal with it"
            )
        for rows in self.batch_sizes():
            if rows % self.accumulate_steps:
                raise ValueError(
                    f"got accumulate_steps {self.accumulate_steps} and batches of {rows} rows, expected a divisor"
                )
        return self

    def model_shape(self, vocab_size: int) -> ModelConfig:
        """The configuration of the trained model: as the last phase leaves it, with room for the longest row."""
        shape = self.model.model_config_for(vocab_size, self.longest_row_tokens())
        return replace(shape, rope_base=self.rope_bases()[-1])

    def rope_bases(self) -> list[float]:
        """The base of each phase."""
        return [phase.rope_base or self.model.rope_base for phase in self.phases]

    def total_tokens(self, vocab_size: int) -> int | None:
        """Training tokens of phases with shares."""
        if self.tokens != "compute_optimal":
            return self.tokens
        parameters = self.model_shape(vocab_size).active_parameter_count()
        return budget.compute_optimal_tokens(parameters, self.over_train)
