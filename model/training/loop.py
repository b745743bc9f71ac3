"""The training loop that pretraining, instruction tuning, reward modelling and the training of policies share.

One jitted step with donated buffers. Loss curves are arrays inside the training state, written on the device: the host
waits for the device only when it logs, and a checkpoint holds the curve too, so a training that was killed and resumed
ends with the same weights and the same report, bit for bit. Batches are a function of the step, or of the step and the
model (``Sampled``), which is why the step is all the data state there is.

``step`` compiles the step from an objective, ``saving`` resumes and saves, ``hooks`` log, measure and take digests every
N steps. Each kind of failure has a file: ``preemption`` (asked to end), ``non_finite`` (a loss that is not finite),
``checksum`` (bits that changed by themselves), ``goodput`` (where the time went).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from millrace.model.devices import hosts
from millrace.model.states.store import Moment, Store

from . import non_finite
from .goodput import Goodput
from .hooks import Evaluation, Hook, Training
from .preemption import Preempted
from .saving import Saving
from .state import Saved
from .step import Batch, Objective, SharedStep, Step


@dataclass(frozen=True)
class Sampled:
    """Batches that the module in training makes itself, as a policy answers prompts.

    Attributes:
        make: (module, step) -> the step's arrays, and values to record by name; a pure function of both.
        described: Shapes and dtypes of the arrays by name, which never change.
        names: Names of the values.
    """

    make: Callable[[Any, int], tuple[Batch, Mapping[str, float]]]
    described: Mapping[str, jax.ShapeDtypeStruct]
    names: Sequence[str]


@dataclass(frozen=True)
class Supervision:
    """Who watches a training, and may end it.

    Attributes:
        stop: Asked between steps whether to save and end; on several hosts, which have to agree, only where a hook
            waits for the devices.
        notice: Takes one line for each thing that a person should know.
        goodput: Counts what time was lost to.
    """

    stop: Callable[[], bool] | None = None
    notice: Callable[[str], None] | None = None
    goodput: Goodput | None = None


@dataclass(frozen=True)
class History:
    """The record of a training.

    Attributes:
        curves: Name -> [steps]; ``loss``, ``gradient_norm`` (before clipping) and the loss function's metrics, float32;
            what ``Sampled`` batches told, float64.
        evaluation_steps: Numbers of finished steps at which an ``Evaluation`` among the hooks measured.
        evaluations: Name -> float64 [len(evaluation_steps)].
        skipped_steps: Steps whose update was not applied, because it was not finite.
        checksums: uint32 [digests, 2], of the parameters, where a hook took any.
    """

    curves: Mapping[str, np.ndarray]
    evaluation_steps: Sequence[int]
    evaluations: Mapping[str, np.ndarray]
    skipped_steps: Sequence[int] = ()
    checksums: np.ndarray | None = None


def fit(
    module: nnx.Module,
    objective: Objective,
    batches: Callable[[int], Batch] | Sampled,
    total_steps: int,
    *,
    stores: Sequence[Store] = (),
    hooks: Sequence[Hook] = (),
    supervision: Supervision | None = None,
    mesh: Mesh | None = None,
    shared: SharedStep | None = None,
    until_steps: int | None = None,
) -> History:
    """Trains a module in place.

    Args:
        module: The module whose ``nnx.Param`` variables are trained.
        objective: The loss to minimise, and how to minimise it.
        batches: Step -> arrays; a pure function, because a resumed training asks again. On several hosts each gives
            the whole batch, or arrays that are spread already (``sharding.read_own_rows``). Or ``Sampled``.
        total_steps: Number of steps.
        stores: Where to keep and look for the state, in the order of writing; the newest of all is gone on from.
        hooks: Hooks to run between steps, in this order.
        supervision: Who watches; nobody by default.
        mesh: Devices to spread state and batches over (see ``sharding``); None is one device.
        shared: The compiled step of trainings of the same module, objective and mesh, to compile once for all.
        until_steps: Ends after this many of the ``total_steps``, as a replay does.

    Returns:
        The curves, also of the steps before a resumption.

    Raises:
        NonFiniteLoss: A loss was not finite; raised at the next hook that waits, the next save, or the end; no store
            holds it.
        Preempted: ``stop`` said so; the state is saved when there are stores.
        ValueError: ``shared`` is the step of another training.
    """
    return _Loop(
        module, objective, batches, total_steps, stores, hooks, supervision or Supervision(), mesh, shared
    ).run(total_steps if until_steps is None else min(until_steps, total_steps))


class _Loop:
    """A call of ``fit``."""

    def __init__(
        self,
        module: nnx.Module,
        objective: Objective,
        batches: Callable[[int], Batch] | Sampled,
        total_steps: int,
        stores: Sequence[Store],
        hooks: Sequence[Hook],
        supervision: Supervision,
        mesh: Mesh | None,
        shared: SharedStep | None,
    ) -> None:
        self._module, self._batches, self._total_steps = module, batches, total_steps
        self._hooks, self._stop = hooks, supervision.stop
        self._notice = supervision.notice or (lambda line: None)
        self._clock = supervision.goodput or Goodput()
        self._saving = Saving(stores, self._clock)
        self._step = Step(module, objective, mesh, shared)
        self._guard = non_finite.Guard(
            objective.on_non_finite, objective.most_skipped_steps, supervision.notice
        )
        self._metrics: tuple[str, ...] | None = None

    def run(self, end: int) -> History:
        """Trains until this many steps are done."""
        training = self._resumed()
        if training.done:
            self._notice(f"going on after {training.done} of {self._total_steps} steps")
        while True:
            moment, waits = self._moment(training, end)
            hooks = [hook for hook in self._hooks if hook.due(moment)]
            due = self._saving.due(moment)
            if waits or due or training.start < training.done == end:
                skips = None if training.state.skips is None else np.array(training.state.skips)
                step = self._guard.step_to_rewind(training.curves(), training.done, skips)
                if step is not None and skips is not None:
                    training = self._rewound(training, step, skips)
                    continue
            for hook in hooks:
                hook(training, moment)
            if due:
                self._saving.save(due, moment, self._saved(training))
            if moment.stopping:
                raise Preempted(moment.done, self._total_steps, saved=bool(self._saving) and moment.done > 0)
            if moment.done == end:
                break
            training.state = self._step(training.state, self._read(training), self._clock)
            training.done += 1
        self._saving.wait()
        nnx.update(self._module, jax.tree.map(hosts.gathered, training.state.params))
        return self._history(training)

    def _moment(self, training: Training, end: int) -> tuple[Moment, bool]:
        """Where the training stands, and whether a hook waits for the devices there."""
        moment = Moment(training.start, training.done, end, self._total_steps)
        waits = any(hook.waits and hook.due(moment) for hook in self._hooks)
        if self._stop is None or training.done == end or not (waits or jax.process_count() == 1):
            return moment, waits
        return moment._replace(stopping=hosts.any_of(self._stop())), waits

    def _read(self, training: Training) -> Batch:
        """The batch of the next step."""
        if not isinstance(self._batches, Sampled):
            with self._clock.reading():
                return self._batches(training.done)
        rows, values = self._batches.make(training.module(), training.done)
        for name, value in values.items():
            training.sampled[name][training.done] = value
        return rows

    def _resumed(self, reason: str | None = None) -> Training:
        """The newest state that a store has, or a fresh one."""
        done, useful_seconds = 0, 0.0
        with self._clock.lost("restoring"):
            measured = {
                name: values
                for hook in self._hooks
                for name, values in hook.measures(self._total_steps).items()
            }
            names = self._batches.names if isinstance(self._batches, Sampled) else ()
            sampled = {name: np.full(self._total_steps, np.nan) for name in names}
            fresh, described = self._step.first_state(
                lambda state: functools.reduce(
                    lambda state, hook: hook.begin(state, self._total_steps), self._hooks, state
                ),
                self._total_steps,
                self._metric_names(),
            )
            found = self._saving.newest(Saved(described, measured, np.zeros(()), sampled))
            if found:
                done, saved = found
                state, useful_seconds = saved.train, float(saved.useful_seconds)
                measured, sampled = (
                    {name: np.array(values) for name, values in kept.items()}
                    for kept in (saved.measured, saved.sampled)
                )
            else:
                state = fresh()
        self._clock.resumed(useful_seconds, reason)
        return Training(self._step, self._clock, state, measured, sampled, done, done)

    def _rewound(self, training: Training, step: int, skips: np.ndarray) -> Training:
        """Goes back to the newest saved state, and leaves out the update of a step from there."""
        skips[step] = True
        training.state = training.state._replace(params=None, optimizer=None)  # not beside those restored
        again = self._resumed("rewound steps")
        before = again.state.skips
        assert before is not None
        skips |= np.array(before)
        again.state = again.state._replace(skips=jax.device_put(skips, before.sharding))
        self._notice(f"step {step} is not finite: rewound to step {again.done}, to skip its update")
        return again

    def _metric_names(self) -> tuple[str, ...]:
        if self._metrics is None:
            self._metrics = ()
            if self._total_steps:
                batches = self._batches
                first = batches.described if isinstance(batches, Sampled) else batches(0)
                self._metrics = self._step.metrics(first)
        return self._metrics

    def _saved(self, training: Training) -> Saved:
        useful_seconds = np.asarray(self._clock.useful_seconds())
        return Saved(training.state, training.measured, useful_seconds, training.sampled)

    def _history(self, training: Training) -> History:
        curves, state = training.curves(), training.state
        if state.skips is not None:
            skipped = np.flatnonzero(np.array(state.skips))
        else:
            skipped = non_finite.bad_steps(curves, training.done)
        checksums = None if state.checksums is None else np.array(state.checksums)
        points = [hook.steps(self._total_steps) for hook in self._hooks if isinstance(hook, Evaluation)]
        return History(
            curves=curves,
            evaluation_steps=points[0] if points else [],
            evaluations=training.measured,
            skipped_steps=[int(step) for step in skipped],
            checksums=checksums,
        )
