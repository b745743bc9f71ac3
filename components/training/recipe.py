"""How ``pretrain`` makes a step but for the loss: the optimizer, its schedule, the gradient, as a configuration says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optax

from millrace.data.training.mixture import Mixture
from millrace.model.losses.next_token import learnt_tokens
from millrace.model.training import accumulate
from millrace.model.training.optimizer import learning_rate_schedule, make_optimizer
from millrace.model.training.shared_step import SharedStep

from .config import PretrainConfig


@dataclass(frozen=True)
class Recipe:
    """What trainings have in common that differ in their mixture's weights alone; made once, they compile once.

    Attributes:
        optimizer: With the learning rate of every step.
        gradient: How it is computed (see ``model/training/accumulate.py``).
        step: The compiled step.
    """

    optimizer: optax.GradientTransformation
    gradient: Callable[[accumulate.Loss], accumulate.Gradient]
    step: SharedStep


def make(config: PretrainConfig, mixture: Mixture) -> Recipe:
    """The recipe of a training; of the mixture only the steps of each phase count."""
    schedule = learning_rate_schedule(
        [
            (end, phase.learning_rate or config.learning_rate)
            for end, phase in zip(mixture.ends, config.phases, strict=True)
        ],
        total_steps=mixture.total_steps,
        warmup_steps=config.warmup_steps,
        decay=config.decay,
        decay_fraction=config.decay_fraction,
        final_fraction=config.final_fraction,
        step_tokens=mixture.step_tokens,
    )
    optimizer = make_optimizer(
        schedule,
        name=config.optimizer,
        weight_decay=config.weight_decay,
        beta2=config.beta2,
        clip_norm=config.clip_norm,
    )
    return Recipe(optimizer, accumulate.split(config.accumulate_steps, learnt_tokens), SharedStep())
