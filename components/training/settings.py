"""Settings of every training by gradient steps: learning rate and decay, checkpoints, devices, non-finite losses.

Fields that several components have are types here, with their bounds and descriptions; each component has its own
defaults for them. A field that a component lacks has the default of ``model/training/optimizer.py``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.components.contract import Config, runtime

from .mesh import MeshConfig

LearningRate = Annotated[float, Field(gt=0, description="Peak learning rate.")]
WarmupSteps = Annotated[int, Field(ge=0, description="Steps of linear rise.")]
Decay = Annotated[
    Literal["stable", "cosine", "constant"],
    Field(description="Schedule after warmup; stable falls linearly over the last decay_fraction."),
]
WeightDecay = Annotated[float, Field(ge=0, description="Decoupled weight decay.")]
ClipNorm = Annotated[float, Field(gt=0, description="Largest gradient norm.")]
RouterBalanceLoss = Annotated[
    float,
    Field(ge=0, description="Weight of the balance loss of experts' routers, where the model has experts."),
]
RouterZLoss = Annotated[float, Field(ge=0, description="Weight of the routers' z-loss.")]


class GradientConfig(Config):
    """Settings of every training by gradient steps, also of one inside a stage."""

    learning_rate: LearningRate = 3e-3
    warmup_steps: WarmupSteps = 20
    on_non_finite: Literal["stop", "skip", "rewind"] = Field(
        default="stop",
        description="A step whose loss or gradient is not finite ends the training, has no update, or makes it go back "
        "to the newest checkpoint to leave that update out.",
    )
    max_skipped_steps: int = Field(
        default=10, ge=0, description="Most updates that skip or rewind leave out."
    )
    checkpoint_every_steps: int = runtime(50, ge=1, description="Steps between checkpoints.")
    log_every_steps: int = runtime(10, ge=1, description="Steps between live metrics.")
    mesh: MeshConfig = runtime(MeshConfig(), description="Devices along each axis; all of them by default.")


class FittingConfig(GradientConfig):
    """Settings of a stage that is such a training."""

    keep_checkpoints: int = runtime(2, ge=1, description="How many of the newest checkpoints to keep.")
    replica_every_steps: int = runtime(
        0,
        ge=0,
        description="Steps between copies of the state in memory, from which a stage with retries goes on; 0 keeps none.",
    )


def keeps_memory(config: FittingConfig) -> bool:
    """Whether copies of the state are to outlive the process."""
    return config.replica_every_steps > 0
