"""A stage's training by gradient steps: devices, checkpoints, the request to stop, and errors with a remedy.

Every component that trains goes through here; what differs between them is the module, the objective and the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import optax
from flax import nnx

from millrace.components.contract import ComponentError, Context
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.states.kept_states import KeptStates
from millrace.model.states.replicas import NoRoom, Replicas
from millrace.model.states.store import Store
from millrace.model.training.goodput import Goodput
from millrace.model.training.hooks import Hook, Log
from millrace.model.training.loop import History, Sampled, Supervision, fit
from millrace.model.training.non_finite import NonFiniteLoss
from millrace.model.training.optimizer import learning_rate_schedule, make_optimizer
from millrace.model.training.preemption import Preempted, StopRequest
from millrace.model.training.step import Batch, Objective, SharedStep

from . import mesh as device_mesh
from .settings import FittingConfig

SCHEDULE = {"decay", "decay_fraction", "final_fraction"}
OPTIMIZER = {"weight_decay", "beta2", "clip_norm"}


def optimizer_of(
    config: FittingConfig,
    total_steps: int,
    *,
    peaks: Sequence[tuple[int, float]] | None = None,
    step_tokens: Sequence[int] | None = None,
    **fixed: Any,
) -> optax.GradientTransformation:
    """The optimizer that a configuration describes.

    Args:
        config: The settings; fields that it lacks are those of ``model/training/optimizer.py``.
        total_steps: Steps of the training.
        peaks: (first step after the phase, its peak learning rate) per phase; one phase by default.
        step_tokens: Tokens of a step in each phase.
        fixed: Settings of ``make_optimizer`` that the component does not leave to its configuration.
    """
    schedule = learning_rate_schedule(
        peaks or [(total_steps, config.learning_rate)],
        total_steps=total_steps,
        warmup_steps=config.warmup_steps,
        step_tokens=step_tokens,
        **config.model_dump(include=SCHEDULE),
    )
    return make_optimizer(schedule, **config.model_dump(include=OPTIMIZER), **fixed)


class Fitting:
    """The training of one stage.

    Args:
        component: The component that trains, for messages.
        context: Of the stage.
        config: Its settings.
        batch_sizes: Rows of the batches, which the mesh has to divide.
        rows_are: The settings that give the rows, for messages.

    Attributes:
        mesh: The devices, or None for a single one.
        clock: Clock that books lost time.

    Raises:
        ComponentError: The devices or the rows do not divide by the mesh's axes.
    """

    def __init__(
        self,
        component: str,
        context: Context,
        config: FittingConfig,
        batch_sizes: Sequence[int],
        rows_are: str = "batch_size",
    ) -> None:
        self._component, self._context, self._config = component, context, config
        self.mesh = device_mesh.build(config.mesh, batch_sizes, rows_are)
        self.clock = Goodput() if context.host else Goodput.since(context.work / "started")

    def in_host_memory(self) -> AbstractContextManager[Any]:
        """Inside, modules are made where they do not fill a device (see ``mesh.in_host_memory``)."""
        return device_mesh.in_host_memory(self.mesh)

    def place(self, module: nnx.Module) -> None:
        """Puts a module on the devices on which this host computes by itself (see ``mesh.place``)."""
        device_mesh.place(self.mesh, module)

    def alone(self) -> AbstractContextManager[Any]:
        """Inside, programs of this host by itself divide their rows over its devices."""
        return device_mesh.alone(self.mesh)

    def log(self, names: Sequence[str], total_steps: int) -> Log:
        """A hook that reports these values of the last step, goodput and progress."""

        def tell(step: int, values: Mapping[str, float]) -> None:
            for name in names:
                self._context.metric(name, values[name], step)
            self._context.metric("goodput", self.clock.share(), step)
            self._context.progress(step, total_steps, "steps")

        return Log(self._config.log_every_steps, tell)

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Reports what an evaluation measured."""
        for name, value in values.items():
            self._context.metric(name, value, step)

    def fit(
        self,
        module: nnx.Module,
        objective: Objective,
        batches: Callable[[int], Batch] | Sampled,
        total_steps: int,
        hooks: Sequence[Hook],
        *,
        advice: Callable[[int], str],
        kept: KeptStates | None = None,
        shared: SharedStep | None = None,
        until_steps: int | None = None,
    ) -> History:
        """Trains a module in place, from the newest state of the work folder or of memory, or afresh.

        Args:
            module: See ``fit``, also for arguments not listed here.
            objective: As the configuration's ``on_non_finite`` has it.
            batches: Step -> arrays.
            total_steps: Number of steps.
            hooks: Hooks to run between steps.
            advice: From the step whose loss is not finite to a sentence's end that says what to do.
            kept: States that stay when the training is over.
            shared: The compiled step of trainings that are alike.
            until_steps: Ends after this many steps.

        Raises:
            ComponentError: A step is not finite, memory does not hold the copies, or a signal asked to end.
        """
        context, config = self._context, self._config
        checkpoints = Checkpoints(
            context.work / "checkpoints",
            config.checkpoint_every_steps,
            keep=config.keep_checkpoints,
            log=context.log.warning,
        )
        stores: list[Store] = [checkpoints]
        if config.replica_every_steps and context.memory:
            stores.insert(0, Replicas(context.memory, config.replica_every_steps, context.log.warning))
        if kept:
            stores.append(kept)
        with checkpoints, StopRequest() as stop:
            try:
                history = fit(
                    module,
                    objective,
                    batches,
                    total_steps,
                    stores=stores,
                    hooks=hooks,
                    supervision=Supervision(stop, context.log.warning, self.clock),
                    mesh=self.mesh,
                    shared=shared,
                    until_steps=until_steps,
                )
            except NonFiniteLoss as error:
                raise ComponentError(
                    f"{self._component}: {error}, with a peak learning_rate of {config.learning_rate:g}; "
                    f"{advice(error.step)}"
                ) from error
            except NoRoom as error:
                raise ComponentError(f"{self._component}: {error}") from error
            except Preempted as error:
                context.log.warning("%s; %s", error, self.clock.summary())
                raise ComponentError(f"{self._component}: {error}") from error
        context.log.info("%s", self.clock.summary())
        return history
