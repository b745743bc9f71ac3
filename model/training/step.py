"""The compiled step of a training: from an objective, a module and a mesh to a function of state and batch.

The loss is a function of the module; the step splits the module into trained and untrained variables, and merges them
again where it is traced. Buffers of the state are donated, so a device holds it once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from millrace.model.devices import hosts, sharding

from . import accumulate, non_finite
from .goodput import Goodput
from .non_finite import Policy
from .state import TrainState

Batch = Mapping[str, np.ndarray | jax.Array]
LossFunction = Callable[..., tuple[jax.Array, Mapping[str, jax.Array]]]
"""``(module, batch, *frozen)`` to a scalar loss and scalar metrics by name."""


@dataclass(frozen=True)
class Objective:
    """The loss that a training minimises, and how.

    Attributes:
        loss: (module, batch, *frozen) -> (scalar loss, dictionary of scalar metrics); traced once per batch shape.
        optimizer: The gradient transformation.
        gradient: How a batch's gradient is computed: at once, or ``accumulate.split`` into microbatches.
        frozen: Untrained inputs of the loss, for instance a teacher's weights: nested dictionaries of arrays, named
            like the module's so that a mesh lays them out alike. They are arguments of the compiled step and no part of
            the state, so no program holds them and no checkpoint does.
        on_non_finite: Treatment of a step whose loss or gradient is not finite (see ``non_finite``).
        most_skipped_steps: More such steps than this end the training under ``skip`` and ``rewind`` too.
    """

    loss: LossFunction
    optimizer: optax.GradientTransformation
    gradient: Callable[[accumulate.Loss], accumulate.Gradient] = accumulate.whole
    frozen: Sequence[Any] = ()
    on_non_finite: Policy = "stop"
    most_skipped_steps: int = 10


class SharedStep:
    """One compiled step for several trainings that differ only in their batches and their first weights.

    A training compiles its step anew, because it cannot know that the next one wants the same program. A search over
    mixtures does want it: its trainings take seconds, and so does compiling. Pass the same object to every ``fit``: the
    first call compiles, the others reuse the program.

    Attributes:
        shapes: Shapes of batches that are compiled.
    """

    def __init__(self) -> None:
        self.shapes: set[Any] = set()
        self._parts: tuple[Any, ...] | None = None
        self._step: Callable[..., TrainState] | None = None

    def of(self, parts: tuple[Any, ...], step: Callable[..., TrainState]) -> Callable[..., TrainState]:
        """The step of the first training.

        Args:
            parts: The parts of a step; equal parts make the same program.
            step: This training's own step, not yet traced.

        Raises:
            ValueError: The parts are not those of the first training.
        """
        if self._step is None:
            self._parts, self._step = parts, step
        if parts != self._parts:
            raise ValueError(
                "got a training of another module, optimizer, loss or mesh than the first that used this step, "
                "expected the same objects; give it a step of its own"
            )
        return self._step


class Step:
    """The step of one training; called with a state, whose buffers it takes, and a batch, it gives the next state.

    Args:
        module: The module whose ``nnx.Param`` variables are trained.
        objective: The loss to minimise.
        mesh: Devices to spread state and batches over; None is one device.
        shared: The compiled step of other trainings, to use or to make.
    """

    def __init__(
        self, module: nnx.Module, objective: Objective, mesh: Mesh | None, shared: SharedStep | None
    ) -> None:
        self.objective, self.mesh = objective, mesh
        self._graph, variables, self._rest = nnx.split(module, nnx.Param, ...)
        # In host memory, also for the module: devices hold the state alone, and all processes of a cluster begin alike.
        self._first_weights = jax.tree.map(np.array, nnx.to_pure_dict(variables))
        nnx.update(module, self._first_weights)
        self._compiled = shared or SharedStep()
        self._frozen: tuple[Any, ...] = tuple(objective.frozen)
        if mesh:
            alone = jax.process_count() == 1  # and then may have laid them out like this already
            beside = self._frozen if alone else jax.tree.map(np.asarray, self._frozen)
            self._frozen = jax.device_put(beside, sharding.weight_shardings(mesh, beside))
        self._step: Callable[..., TrainState] | None = None

    def module(self, params: Any) -> Any:
        """The module with these parameters, which every host then holds whole on its own devices."""
        return nnx.merge(self._graph, jax.tree.map(hosts.gathered, params), self._rest)

    def metrics(self, batch: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the loss's metrics.

        Args:
            batch: Arrays, or descriptions of some; nothing is computed.
        """
        return tuple(jax.eval_shape(self._loss, self._first_weights, dict(batch), *self._frozen)[1])

    def first_state(
        self, begin: Callable[[TrainState], TrainState], total_steps: int, metrics: Sequence[str]
    ) -> tuple[Callable[[], TrainState], TrainState]:
        """How a fresh state is made, and its description.

        Args:
            begin: Adds to a state what else the training keeps in it; traced.
            total_steps: Length of the curves.
            metrics: Names of the loss's metrics.

        Returns:
            A function that makes the state, spread from the first where there is a mesh: no device ever holds more
            than its part. And its shapes, dtypes and layout, for which nothing is made.
        """

        def first(params: Any) -> TrainState:
            skips = jnp.zeros((total_steps,), bool) if self.objective.on_non_finite == "rewind" else None
            names = ("loss", "gradient_norm", *metrics)
            curves = {name: jnp.zeros((total_steps,), jnp.float32) for name in names}
            moments = self.objective.optimizer.init(params)
            return begin(TrainState(params, moments, jnp.zeros((), jnp.int32), curves, skips))

        shapes = jax.eval_shape(first, self._first_weights)
        layout = sharding.state_shardings(self.mesh, shapes, shapes.params) if self.mesh else None
        lies = layout or jax.tree.map(lambda _: jnp.zeros(()).sharding, shapes)
        described: TrainState = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, lies
        )
        # Variables that are not trained are constants of the program.
        constants = tuple(map(id, jax.tree.leaves(self._rest)))
        what = self.objective
        parts = (
            self._graph,
            constants,
            what.optimizer,
            what.loss,
            what.gradient,
            what.on_non_finite,
            self.mesh,
        )
        jitted = jax.jit(self._next_state, donate_argnums=0, out_shardings=layout)
        self._step = self._compiled.of(parts, jitted)

        def fresh() -> TrainState:
            if self.mesh is None:
                return first(jax.tree.map(jnp.array, self._first_weights))
            spread = jax.device_put(
                self._first_weights, sharding.weight_shardings(self.mesh, self._first_weights)
            )
            made: TrainState = jax.jit(first, out_shardings=layout)(spread)
            return made

        return fresh, described

    def __call__(self, state: TrainState, rows: Batch, clock: Goodput) -> TrainState:
        """The next state; a batch of a new shape compiles first, which the clock counts as lost."""
        assert self._step is not None
        batch = sharding.place_batch(self.mesh, rows) if self.mesh else dict(rows)
        shape = tuple((name, array.shape) for name, array in batch.items())
        known = shape in self._compiled.shapes
        with sharding.on(self.mesh), contextlib.nullcontext() if known else clock.lost("compiling"):
            after = self._step(state, batch, *self._frozen)
        self._compiled.shapes.add(shape)
        return after

    def _loss(
        self, params: Any, batch: Mapping[str, jax.Array], *frozen: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        module = nnx.merge(self._graph, params, self._rest)
        loss, metrics = self.objective.loss(module, batch, *frozen)
        return loss, dict(metrics)

    def _next_state(self, state: TrainState, batch: Mapping[str, jax.Array], *frozen: Any) -> TrainState:
        def loss_beside(
            params: Any, batch: Mapping[str, jax.Array]
        ) -> tuple[jax.Array, dict[str, jax.Array]]:
            return self._loss(params, batch, *frozen)

        what = self.objective
        (loss, metrics), gradients = what.gradient(loss_beside)(state.params, batch)
        updates, moments = what.optimizer.update(gradients, state.optimizer, state.params)
        values = {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **metrics}
        before, after = (state.params, state.optimizer), (optax.apply_updates(state.params, updates), moments)
        if what.on_non_finite == "skip":
            applies = jnp.isfinite(loss) & jnp.isfinite(values["gradient_norm"])
            after = non_finite.choose(applies, after, before)
        elif what.on_non_finite == "rewind":
            assert state.skips is not None
            after = non_finite.choose(~state.skips[state.step], after, before)
        curves = {name: curve.at[state.step].set(values[name]) for name, curve in state.curves.items()}
        return state._replace(params=after[0], optimizer=after[1], step=state.step + 1, curves=curves)
