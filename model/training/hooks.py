"""Hooks run between the steps of a training, each every N steps.

A hook looks at the training and may change its state (see ``Digests``). Those that read values of the devices set
``waits``: the loop then checks first that the losses are finite, and asks on several hosts whether to stop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from millrace.model.states import checksum
from millrace.model.states.store import Moment

from .goodput import Goodput
from .state import TrainState
from .step import Step


@dataclass
class Training:
    """A training between two steps.

    Attributes:
        step: Its compiled step.
        clock: Clock that books lost time.
        state: The state on the devices.
        measured: The measurements that hooks asked for in ``Hook.measures``.
        sampled: The reports of batches that the model made itself.
        done: Steps that are done.
        start: Steps that were done when it was begun, resumed or rewound.
    """

    step: Step
    clock: Goodput
    state: TrainState
    measured: dict[str, np.ndarray]
    sampled: dict[str, np.ndarray]
    done: int
    start: int

    def module(self) -> Any:
        """The module as it is now."""
        return self.step.module(self.state.params)

    def curves(self) -> dict[str, np.ndarray]:
        """All curves, in host memory; waits for the devices."""
        # Copies: on CPU a view would pin the buffer that the next step wants to reuse.
        return {name: np.array(curve) for name, curve in self.state.curves.items()} | self.sampled


class Hook:
    """Something that happens between steps; the methods here do nothing."""

    waits = False

    def begin(self, state: TrainState, total_steps: int) -> TrainState:
        """Adds the hook's own arrays to a fresh state; traced."""
        del total_steps
        return state

    def measures(self, total_steps: int) -> dict[str, np.ndarray]:
        """Arrays in host memory that are saved with the state, as they are before the first step."""
        del total_steps
        return {}

    def due(self, moment: Moment) -> bool:
        """Whether it happens now."""
        raise NotImplementedError

    def __call__(self, training: Training, moment: Moment) -> None:
        """Happens."""
        raise NotImplementedError


@dataclass(frozen=True)
class Log(Hook):
    """Tells the values of the last step.

    Attributes:
        every_steps: Steps between two; the end is told, too.
        tell: Called with the number of finished steps and the values.
    """

    every_steps: int
    tell: Callable[[int, Mapping[str, float]], None] | None = None
    waits = True

    def due(self, moment: Moment) -> bool:
        """At multiples and at the end, but not where the training was begun."""
        return moment.done > moment.start and (
            moment.done == moment.end or moment.done % self.every_steps == 0
        )

    def __call__(self, training: Training, moment: Moment) -> None:
        """Tells the last step's values."""
        if self.tell:
            last = moment.done - 1
            self.tell(moment.done, {name: float(curve[last]) for name, curve in training.curves().items()})


@dataclass(frozen=True)
class Evaluation(Hook):
    """A measurement on held-out data during training.

    Attributes:
        names: Names of the values, in order.
        measure: Takes the module, gives one float per name.
        every_steps: Steps between two; the first is before step 0 and the last after the end, whatever the period.
        tell: Called with the number of finished steps and the values.
    """

    names: Sequence[str]
    measure: Callable[[Any], Sequence[float]]
    every_steps: int
    tell: Callable[[int, Mapping[str, float]], None] | None = None

    def steps(self, total_steps: int) -> list[int]:
        """Numbers of finished steps at which to measure."""
        return sorted({*range(0, total_steps, max(self.every_steps, 1)), total_steps})

    def measures(self, total_steps: int) -> dict[str, np.ndarray]:
        """Name -> [len(steps)], not a number until it is measured."""
        return {name: np.full(len(self.steps(total_steps)), np.nan) for name in self.names}

    def due(self, moment: Moment) -> bool:
        """At its steps; a training that is to end leaves the measurement to the next process."""
        return moment.done in self.steps(moment.total_steps) and not moment.stopping

    def __call__(self, training: Training, moment: Moment) -> None:
        """Measures, unless the training that this one resumes has measured here."""
        index = self.steps(moment.total_steps).index(moment.done)
        if not np.isnan(training.measured[self.names[0]][index]):
            return
        with training.clock.lost("evaluating"):
            values = dict(zip(self.names, self.measure(training.module()), strict=True))
        for name, value in values.items():
            training.measured[name][index] = value
        if self.tell:
            self.tell(moment.done, values)


@dataclass(frozen=True)
class Digests(Hook):
    """Takes checksums of the parameters, on the devices.

    Attributes:
        every_steps: Steps between two; there is one after the last step, too.
    """

    every_steps: int

    def begin(self, state: TrainState, total_steps: int) -> TrainState:
        """With room for the checksums."""
        return state._replace(checksums=jnp.zeros((-(-total_steps // self.every_steps), 2), jnp.uint32))

    def due(self, moment: Moment) -> bool:
        """At multiples and after the last step of the whole training."""
        return moment.done > moment.start and (
            moment.done % self.every_steps == 0 or moment.done == moment.total_steps
        )

    def __call__(self, training: Training, moment: Moment) -> None:
        """Adds the checksum of the parameters as they are now."""
        index = (moment.done - 1) // self.every_steps
        state = training.state
        training.state = state._replace(checksums=_with_checksum(state.checksums, state.params, index))


# A function of its own: compiled once, not again for every shape of batch, and the step is the same with digests.
@functools.partial(jax.jit, donate_argnums=0)
def _with_checksum(sums: jax.Array, params: Any, index: int) -> jax.Array:
    return sums.at[index].set(checksum.of_tree(params))
