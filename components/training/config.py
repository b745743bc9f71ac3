"""What a spec says of ``pretrain``: the shape, the phases with their mixtures, the optimizer, what is kept and told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from millrace.components.contract import runtime
from millrace.components.training.mixture import budget
from millrace.components.training.mixture.phases import MixtureConfig, MixturePhase, RowsConfig

from . import mesh as device_mesh
from .shape import ModelShape

if TYPE_CHECKING:
    from millrace.model.network.config import ModelConfig


class PhaseConfig(MixturePhase):
    """One stage of the staged mixture, as it is trained."""

    learning_rate: float | None = Field(None, gt=0, description="Peak in this phase, if another.")
    rope_base: float | None = Field(
        None,
        gt=1,
        description="Base of the rotary frequencies in this phase, if another: more for longer rows.",
    )


class TrainingConfig(RowsConfig):
    """How a decoder is trained from scratch, whatever it reads: what ``pretrain`` and the proxies of ``ablate_mixture`` share."""

    model: ModelShape = Field(default_factory=ModelShape, description="Sizes of the decoder.")
    accumulate_steps: int = Field(
        1, ge=1, description="Parts of a batch, one after the other; saves memory, changes the last bits."
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon takes the hidden matrices and leaves the rest to AdamW, at one learning rate.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate.")
    warmup_steps: int = Field(20, ge=0, description="Steps of linear rise.")
    decay: Literal["stable", "cosine", "constant"] = Field(
        "stable", description="Schedule after warmup; stable falls linearly over the last decay_fraction."
    )
    decay_fraction: float = Field(0.4, ge=0, le=1, description="Share of the tokens that fall, if stable.")
    final_fraction: float = Field(0.1, ge=0, le=1, description="Learning rate at the end over its peak.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled weight decay.")
    beta2: float = Field(0.95, gt=0, lt=1, description="Adam's decay of the second moment.")
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm.")
    z_loss: float = Field(
        0.0, ge=0, description="Weight of the squared log-normaliser; 1e-4 steadies long trainings."
    )
    router_balance_loss: float = Field(
        0.01, ge=0, description="Weight of the balance loss of experts' routers; 1e-2 is usual."
    )
    router_z_loss: float = Field(0.001, ge=0, description="Weight of the routers' z-loss.")
    capacity_factor: float | None = Field(
        None, gt=0, description="Places of an expert over its even share; none is dropless."
    )
    remat: Literal["none", "dots", "full"] = Field(
        "none",
        description="What the backward pass computes again: nothing, all but products and flash attention, or all of a "
        "layer.",
    )
    unroll_layers: bool = Field(
        False, description="Compile each layer by itself: faster steps on a GPU, slower compilation."
    )
    held_out_bytes_per_source: int = Field(65_536, ge=256, description="Held-out text used per source.")
    on_non_finite: Literal["stop", "skip", "rewind"] = Field(
        "stop",
        description="A step whose loss or gradient is not finite ends the training, has no update, or makes it go back "
        "to the newest checkpoint to leave that update out.",
    )
    max_skipped_steps: int = Field(10, ge=0, description="Most updates that skip or rewind leave out.")
    checkpoint_every_steps: int = runtime(50, ge=1, description="Steps between checkpoints.")
    log_every_steps: int = runtime(10, ge=1, description="Steps between live metrics.")
    mesh: device_mesh.MeshConfig = runtime(
        device_mesh.MeshConfig(), description="Devices along each axis; all of them by default."
    )


class PretrainConfig(TrainingConfig, MixtureConfig):
    """Settings of ``pretrain``."""

    phases: list[PhaseConfig] = Field(min_length=1, description="Mixture by phase, in order.")
    tokens: Annotated[int, Field(ge=1)] | Literal["compute_optimal"] | None = Field(
        None,
        description="Training tokens of phases with shares; compute_optimal takes 20 per (active) parameter.",
    )
    over_train: float = Field(1.0, gt=0, description="Factor on compute_optimal.")
    evaluate_every_steps: int = Field(200, ge=1, description="Steps between held-out measurements.")
    digest_every_steps: int = Field(
        100,
        ge=0,
        description="Steps between checksums of the parameters for `millrace replay`; 0 records nothing for it.",
    )
    keep_checkpoints: int = runtime(2, ge=1, description="How many of the newest checkpoints to keep.")
    keep_state_every_steps: int = Field(
        0,
        ge=0,
        description="Steps between training states that stay in the output `states`, for `millrace replay` to begin with; "
        "0 keeps none.",
    )
    replica_every_steps: int = runtime(
        0,
        ge=0,
        description="Steps between copies of the state in memory, from which a stage with retries goes on; 0 keeps none.",
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
