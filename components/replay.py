"""Replaying: steps of a finished training are executed again and their digests compared with the recorded ones.

Batches are a function of the step and training is the same bits every time, so a difference means that the code, a
library or the machine is another one, or that a machine computed wrongly, then or now: a second replay on a third
machine tells which. A finished stage keeps no checkpoints, so a replay begins with step 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import distill, pretrain, step_digests
from .contract import ComponentError, Context, Inputs
from .step_digests import Difference, Record

NEVER = 2**31 - 1
TRAIN: Mapping[str, Callable[..., pretrain.Trained]] = {"pretrain": pretrain.train, "distill": distill.train}
"""How each component that records its steps trains."""


@dataclass(frozen=True)
class Comparison:
    """What a replay found.

    Attributes:
        compared_steps: Recorded steps that were compared, from 0.
        difference: The first of them that is not the same, or None.
    """

    compared_steps: tuple[int, ...]
    difference: Difference | None


def replay(
    component: str,
    context: Context,
    config: pretrain.PretrainConfig,
    inputs: Inputs,
    recorded: Sequence[Record],
    first_step: int,
    end_step: int | None,
) -> Comparison:
    """Trains again up to the last recorded step of ``[first_step, end_step)`` and compares those that lie in it.

    Args:
        component: The component that trained.
        context: With the seed of the recorded training and an empty work folder.
        config: The recorded configuration.
        inputs: The recorded inputs.
        recorded: The recorded digests, in order.
        first_step: First step to compare, from 0.
        end_step: The first not to compare; None compares to the end.

    Raises:
        ComponentError: No step of the range is recorded, or the training cannot be done again.
    """
    wanted = [record for record in recorded if in_range(record, first_step, end_step)]
    if not wanted:
        steps = [str(record["step"]) for record in recorded]
        shown = ", ".join(steps if len(steps) < 8 else [*steps[:3], "...", *steps[-2:]]) or "none"
        raise ComponentError(
            f"got steps {first_step}:{'' if end_step is None else end_step}, expected a range with a recorded step "
            f"({shown}); digest_every_steps of the stage says how many are recorded"
        )
    until = int(wanted[-1]["step"]) + 1
    quiet = config.model_copy(update={"checkpoint_every_steps": NEVER})
    training = Inputs({port: value for port, value in inputs.ports.items() if port != "benchmarks"})
    trained = TRAIN[component](context, quiet, training, until_steps=until)
    made = pretrain.digests(trained, config.digest_every_steps, until)
    replayed = [record for record in made if in_range(record, first_step, end_step)]
    return Comparison(
        tuple(int(record["step"]) for record in wanted), step_digests.first_difference(wanted, replayed)
    )


def in_range(record: Record, first_step: int, end_step: int | None) -> bool:
    """Whether a record's step lies in ``[first_step, end_step)``."""
    return first_step <= int(record["step"]) and (end_step is None or int(record["step"]) < end_step)
