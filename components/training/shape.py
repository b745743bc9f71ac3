"""The sizes of a decoder as a spec gives them: a preset by name, what differs from it, or all by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from millrace.components.contract import Config

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
        None, description="A shape by name (`millrace models` lists them); what stands beside it wins."
    )
    layers: int = Field(4, ge=1, le=512, description="Number of decoder layers.")
    model_size: int = Field(128, ge=8, description="Width of the residual stream.")
    heads: int = Field(4, ge=1, description="Query heads.")
    kv_heads: int = Field(1, ge=1, description="Key-value heads: 1 is multi-query attention.")
    head_size: int = Field(32, ge=2, description="Width of one head; even.")
    feed_forward_size: int = Field(
        384, ge=8, description="Width of the gated feed-forward layer, or of one expert."
    )
    rope_base: float = Field(10_000.0, gt=1, description="Base of the rotary frequencies.")
    activation: Literal["gelu", "silu"] = Field("gelu", description="Gate: GeGLU or SwiGLU.")
    compute_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Type of matrix products; bfloat16 pays on accelerators only."
    )
    tied_embedding: bool = Field(True, description="Whether the embedding also makes the logits.")
    query_key_norm: bool = Field(False, description="RMSNorm of queries and keys, which steadies attention.")
    logit_soft_cap: float | None = Field(None, gt=0, description="Bound of the logits by tanh.")
    local_window_tokens: int | None = Field(
        None, ge=1, description="What local layers see; none makes all layers global."
    )
    global_every_layers: int = Field(
        6, ge=1, description="With a window, every such layer is global; layers is a multiple of it."
    )
    experts: int = Field(0, ge=0, description="Feed-forward networks to route between; 0 is a dense model.")
    experts_per_token: int = Field(2, ge=1, description="Experts that each token goes through.")

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
