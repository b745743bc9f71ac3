"""AdamW or Muon, with clipping and a learning-rate schedule of warmup, plateau and decay.

The decay phase of a stable schedule suits a staged mixture: the peak may differ per phase, and the last share
of the steps, where domain data gain weight, anneals to the floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from millrace.model.devices.sharding import names_of

from .muon import muon

OPTIMIZERS = ("adamw", "muon")


def learning_rate_schedule(
    peaks: Sequence[tuple[int, float]],
    *,
    total_steps: int,
    warmup_steps: int,
    decay: str = "stable",
    decay_fraction: float = 0.3,
    final_fraction: float = 0.1,
    step_tokens: Sequence[int] | None = None,
) -> optax.Schedule:
    """Learning rate of each step.

    Warmup counts steps, because it waits for the optimizer's averages. Decay counts tokens: phases with larger batches
    or longer rows move along it faster, and its end and half are those of the data, whatever they are cut into.

    Args:
        peaks: (first step after the phase, its peak learning rate) per phase, in order.
        total_steps: Number of steps of the training.
        warmup_steps: Linear rise from zero; step 0 already has 1/warmup_steps of the peak.
        decay: ``stable`` (plateau, then linear decay over the last ``decay_fraction`` of the tokens), ``cosine``
            (from the end of warmup), or ``constant``.
        decay_fraction: Share of the tokens that decay under ``stable``.
        final_fraction: Factor on the peak at the last step, except for ``constant``.
        step_tokens: Tokens of a step in each phase; by default the same in all.

    Raises:
        ValueError: ``decay`` is none of the three.

    References:
        Hu et al. 2024, MiniCPM, arXiv 2404.06395, section 4 (warmup-stable-decay); Loshchilov & Hutter 2017,
        SGDR, arXiv 1608.03983 (cosine); Hägele et al. 2024, arXiv 2405.18392 (linear cool-down); Brown et al. 2020,
        arXiv 2005.14165, appendix B (decay over tokens while the batch grows).
    """
    if decay not in ("stable", "cosine", "constant"):
        raise ValueError(f"decay is {decay!r}, expected stable, cosine or constant")
    last_steps = [end for end, _ in peaks]
    ends = jnp.asarray(last_steps, jnp.int32)
    rates = jnp.asarray([rate for _, rate in peaks], jnp.float32)
    time = _time([0, *last_steps], step_tokens or [1] * len(peaks))
    decay_start = time(warmup_steps) if decay == "cosine" else round(total_steps * (1 - decay_fraction))
    decay_time = max(total_steps - decay_start, 1)

    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(count, jnp.int32)
        phase = jnp.minimum(jnp.searchsorted(ends, step, side="right"), len(peaks) - 1)
        warmup = jnp.minimum((step + 1).astype(jnp.float32) / max(warmup_steps, 1), 1.0)
        done = jnp.clip((time(step + 1) - decay_start) / decay_time, 0.0, 1.0)
        if decay == "cosine":
            done = (1.0 - jnp.cos(jnp.pi * done)) / 2.0
        factor = 1.0 if decay == "constant" else 1.0 - (1.0 - final_fraction) * done
        return rates[phase] * warmup * factor

    return schedule


def _time(ends: Sequence[int], step_tokens: Sequence[int]) -> Callable[[Any], jax.Array]:
    """From finished steps to finished tokens, in units of the mean step, so that the whole is the number of steps."""
    if len(set(step_tokens)) == 1:
        return lambda steps: jnp.asarray(steps, jnp.float32)
    tokens = np.cumsum([0, *(np.diff(ends) * step_tokens)])
    times = jnp.asarray(tokens / tokens[-1] * ends[-1], jnp.float32)
    return lambda steps: jnp.interp(jnp.asarray(steps, jnp.float32), jnp.asarray(ends, jnp.float32), times)


def decay_mask(params: Any) -> Any:
    """True for the parameters that weight decay shrinks: all but norm scales and biases."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not {"scale", "bias"} & set(names_of(path)), params
    )


def make_optimizer(
    schedule: optax.Schedule | float,
    *,
    name: str = "adamw",
    weight_decay: float = 0.1,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
    clip_norm: float = 1.0,
) -> optax.GradientTransformation:
    """AdamW, or Muon with AdamW for all weights but hidden matrices, after clipping by the global norm.

    Args:
        schedule: Learning rate per step, or a constant; the same for both optimizers (see ``muon``).
        name: ``adamw`` or ``muon``.
        weight_decay: Decoupled decay, multiplied by the learning rate.
        beta1: AdamW's decay of the first moment.
        beta2: AdamW's decay of the second moment; 0.95 reacts faster than Adam's 0.999 on short trainings.
        epsilon: Added to the root of the second moment.
        clip_norm: Largest global norm of a gradient.

    Raises:
        ValueError: ``name`` is neither of the two.

    References:
        Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, arXiv 1711.05101;
        Brown et al. 2020, arXiv 2005.14165, appendix B (beta2 0.95, clip 1.0, decay 0.1).
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}")
    optimizer = optax.adamw(
        schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay, mask=decay_mask
    )
    if name == "muon":
        optimizer = muon(schedule, weight_decay=weight_decay, others=optimizer)
    return optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
