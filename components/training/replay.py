"""Replaying: steps of a finished training are executed again and their digests compared with the recorded ones.

Batches are a function of the step and training gives the same bits every time, so a difference means that the code, a
library or the machine changed, or that one of the two machines computed wrongly: a second replay on a third machine
tells which. A replay begins with the newest state that the training kept (``keep_state_every_steps``), or with step 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.distill import stage as distill
from millrace.components.pretrain import stage as pretrain

from . import digests
from . import run as stream_training
from .config import PretrainConfig
from .digests import Difference, Record

NEVER = 2**31 - 1
TRAIN: Mapping[str, Callable[..., stream_training.Trained]] = {
    "pretrain": pretrain.train,
    "distill": distill.train,
}
"""How each component that records its steps trains."""


@dataclass(frozen=True)
class Comparison:
    """The result of a replay.

    Attributes:
        first_step: First step that was compared, from 0.
        end_step: The first that was not.
        difference: The first step that is not the same, or None.
        begun_with: The step that was the first to be executed again.
    """

    first_step: int
    end_step: int
    difference: Difference | None
    begun_with: int = 0


def replay(
    component: str,
    context: Context,
    config: PretrainConfig,
    inputs: Inputs,
    recorded: Sequence[Record],
    first_step: int,
    end_step: int | None,
    states: Path | None = None,
) -> Comparison:
    """Trains again up to ``end_step`` and compares the steps of ``[first_step, end_step)``.

    Args:
        component: The component that trained.
        context: With the seed of the recorded training and an empty work folder.
        config: The recorded configuration.
        inputs: The recorded inputs.
        recorded: The recorded blocks, in order.
        first_step: First step to compare, from 0.
        end_step: The first not to compare; None compares to the end.
        states: The recorded states; the replay begins with the newest one not behind ``first_step``.

    Raises:
        ComponentError: No step of the range is recorded, or the training cannot be done again.
    """
    recorded_steps = int(recorded[-1]["step"]) + 1 if recorded else 0
    end = recorded_steps if end_step is None else min(end_step, recorded_steps)
    if first_step >= end:
        there = f"steps from 0 to {recorded_steps - 1}" if recorded else "none: digest_every_steps is 0"
        raise ComponentError(
            f"got steps {first_step}:{'' if end_step is None else end_step}, expected some of the recorded ({there})"
        )
    import jax

    from millrace.model.states.state_file import OtherTraining

    if (devices := int(recorded[0]["devices"])) != jax.device_count():
        raise ComponentError(
            f"got a training on {devices} devices and {jax.device_count()} here, expected as many: sums over other numbers "
            "of devices differ in their last bits; replay where there are as many, in one process"
        )
    quiet = config.model_copy(update={"checkpoint_every_steps": NEVER, "keep_state_every_steps": 0})
    begun_with = _begin(states, first_step, stream_training.states_folder(context)) if states else 0
    training = Inputs({port: value for port, value in inputs.ports.items() if port != "benchmarks"})
    try:
        trained = TRAIN[component](context, quiet, training, until_steps=end)
    except OtherTraining as error:
        raise ComponentError(
            f"the state that the training kept does not fit the code that trains now: {error}; take the code of then, "
            "which the run's versions tell"
        ) from error
    replayed = stream_training.digests(trained, config.digest_every_steps, end)
    difference = digests.first_difference(recorded, replayed, first_step, end)
    return Comparison(first_step, end, difference, begun_with)


def _begin(states: Path, first_step: int, folder: Path) -> int:
    """Puts the newest kept state up to a step where the training looks for one; returns its step, 0 without one.

    Raises:
        ComponentError: It is damaged.
    """
    from millrace.model.states import integrity, kept_states

    step = max((step for step in kept_states.steps(states) if step <= first_step), default=0)
    if step:
        kept = states / kept_states.folder_name(step)
        if wrong := integrity.damage(kept):
            raise ComponentError(
                f"the kept state of step {step} is damaged: {'; '.join(wrong)}; restore the store"
            )
        folder.mkdir(parents=True)
        (folder / kept.name).symlink_to(kept)
    return step
