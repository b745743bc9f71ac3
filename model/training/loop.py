"""The supervised training loop that pretraining, instruction tuning and reward modelling share.

One jitted step with donated buffers. Loss curves are arrays inside the training state, written on the device: the host
waits for the device only when it logs, and a checkpoint holds the curve too, so a training that was killed and resumed
ends with the same weights and the same report, bit for bit. Batches are a function of the step alone, which is why
the step is all the data state there is.

What goes wrong has a file each: ``preemption`` (asked to end), ``non_finite`` (a loss that is none), ``checksum`` (bits
that changed by themselves), ``goodput`` (where the time went).
"""

from __future__ import annotations

import contextlib
import functools
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
from millrace.model.states import checksum
from millrace.model.states.checkpoints import Checkpoints
from millrace.model.states.kept_states import KeptStates
from millrace.model.states.replicas import Replicas

from . import accumulate, non_finite
from .goodput import Goodput
from .non_finite import NonFiniteLoss, Policy
from .preemption import Preempted
from .shared_step import SharedStep

__all__ = ["Batch", "Evaluation", "History", "LossFunction", "NonFiniteLoss", "Policy", "fit"]

Batch = Mapping[str, np.ndarray | jax.Array]
LossFunction = Callable[..., tuple[jax.Array, Mapping[str, jax.Array]]]
"""``(module, batch, *frozen)`` to a scalar loss and scalar metrics by name."""


@dataclass(frozen=True)
class Evaluation:
    """A measurement on held-out data during training.

    Attributes:
        names: Names of the values, in order.
        measure: Takes the module, gives one float per name.
        every_steps: Steps between two; the first is before step 0 and the last after the end, whatever the period.
    """

    names: Sequence[str]
    measure: Callable[[Any], Sequence[float]]
    every_steps: int

    def steps(self, total_steps: int) -> list[int]:
        """Numbers of finished steps at which to measure."""
        return sorted({*range(0, total_steps, max(self.every_steps, 1)), total_steps})


@dataclass(frozen=True)
class History:
    """What a training recorded.

    Attributes:
        curves: Name -> [steps] float32; ``loss``, ``gradient_norm`` (before clipping) and the loss function's metrics.
        evaluation_steps: Numbers of finished steps at which the evaluation ran.
        evaluations: Name -> [len(evaluation_steps)] float64.
        skipped_steps: Steps whose update was not applied, because it was not finite.
        checksums: uint32 [digests, 2], of the parameters after every ``digest_every_steps`` steps and after the last.
    """

    curves: Mapping[str, np.ndarray]
    evaluation_steps: Sequence[int]
    evaluations: Mapping[str, np.ndarray]
    skipped_steps: Sequence[int] = ()
    checksums: np.ndarray | None = None


def fit(
    module: nnx.Module,
    optimizer: optax.GradientTransformation,
    loss_function: LossFunction,
    batches: Callable[[int], Batch],
    total_steps: int,
    *,
    frozen: Sequence[Any] = (),
    gradient: Callable[[accumulate.Loss], accumulate.Gradient] = accumulate.whole,
    checkpoints: Checkpoints | None = None,
    checkpoint_every_steps: int = 50,
    replicas: Replicas | None = None,
    states: KeptStates | None = None,
    log_every_steps: int = 10,
    on_log: Callable[[int, Mapping[str, float]], None] | None = None,
    evaluation: Evaluation | None = None,
    on_evaluation: Callable[[int, Mapping[str, float]], None] | None = None,
    on_non_finite: Policy = "stop",
    most_skipped_steps: int = 10,
    digest_every_steps: int = 0,
    until_steps: int | None = None,
    stop: Callable[[], bool] | None = None,
    notice: Callable[[str], None] | None = None,
    goodput: Goodput | None = None,
    mesh: Mesh | None = None,
    shared: SharedStep | None = None,
) -> History:
    """Trains a module in place.

    Args:
        module: Whose ``nnx.Param`` variables are trained.
        optimizer: The gradient transformation.
        loss_function: (module, batch, *frozen) -> (scalar loss, dictionary of scalar metrics); traced once per batch
            shape.
        batches: Step -> arrays; a pure function, because a resumed training asks again. On several hosts each gives
            the whole batch, or arrays that are spread already (``sharding.read_own_rows``).
        total_steps: Number of steps.
        frozen: What the loss takes that is not trained, a teacher's weights say: nested
            dictionaries of arrays, named as the module's so that a mesh lays them out as its. They are arguments
            of the compiled step and no part of its state, so no program holds them and no checkpoint does.
        gradient: How a batch's gradient is computed: at once, or ``accumulate.split`` into microbatches.
        checkpoints: Where to keep and look for the state; None starts afresh and keeps nothing.
        checkpoint_every_steps: Steps between checkpoints.
        replicas: Copies of the state in memory, more often.
        states: States that stay when the training is over. The newest of all three kinds is gone on from.
        log_every_steps: Steps between calls of ``on_log``; the host waits for the device then.
        on_log: Called with the number of finished steps and the values of the last one.
        evaluation: Held-out measurement.
        on_evaluation: Called with the number of finished steps and the values.
        on_non_finite: What becomes of a step whose loss or gradient is not finite (see ``non_finite``).
        most_skipped_steps: More such steps than this end the training under ``skip`` and ``rewind`` too.
        digest_every_steps: Steps between checksums of the parameters; 0 takes none.
        until_steps: Ends after so many steps of the ``total_steps``, as a replay does.
        stop: Asked between steps whether to save and end; on several hosts, which have to agree, at logs only.
        notice: Takes one line for each thing that a person should know.
        goodput: Counts what time was lost to.
        mesh: Devices to spread state and batches over (see ``sharding``); None is one device.
        shared: The compiled step of trainings of the same module, optimizer, loss and mesh, to compile once for all.

    Returns:
        The curves, also of the steps before a resumption.

    Raises:
        NonFiniteLoss: At the next log or checkpoint after it happened; no checkpoint holds it.
        Preempted: ``stop`` said so; the state is saved when there are checkpoints.
        ValueError: ``shared`` is the step of another training.
    """
    graph, variables, rest = nnx.split(module, nnx.Param, ...)
    # In host memory, also for the module: devices hold the state alone, and every process of a cluster the same values.
    first_weights = jax.tree.map(np.array, nnx.to_pure_dict(variables))
    nnx.update(module, first_weights)
    del variables

    def loss_of(
        params: Any, batch: Mapping[str, jax.Array], *frozen: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        loss, metrics = loss_function(nnx.merge(graph, params, rest), batch, *frozen)
        return loss, dict(metrics)

    def train_step(state: dict[str, Any], batch: Mapping[str, jax.Array], *frozen: Any) -> dict[str, Any]:
        def loss_beside(
            params: Any, batch: Mapping[str, jax.Array]
        ) -> tuple[jax.Array, dict[str, jax.Array]]:
            return loss_of(params, batch, *frozen)

        (loss, metrics), gradients = gradient(loss_beside)(state["params"], batch)
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        values = {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **metrics}
        step = state["step"]
        learnt = {"params": optax.apply_updates(state["params"], updates), "optimizer": moments}
        if on_non_finite == "skip":
            applies = jnp.isfinite(loss) & jnp.isfinite(values["gradient_norm"])
            learnt = non_finite.choose(applies, learnt, {name: state[name] for name in learnt})
        elif on_non_finite == "rewind":
            learnt = non_finite.choose(~state["skips"][step], learnt, {name: state[name] for name in learnt})
        after = state | learnt | {"step": step + 1}
        after["curves"] = {name: curve.at[step].set(values[name]) for name, curve in state["curves"].items()}
        return after

    @functools.cache
    def metric_names() -> tuple[str, ...]:
        if not total_steps:
            return ()
        return tuple(jax.eval_shape(loss_of, first_weights, dict(batches(0)), *frozen)[1])

    def first_state(params: Any) -> dict[str, Any]:
        state = {
            "params": params,
            "optimizer": optimizer.init(params),
            "step": jnp.zeros((), jnp.int32),
            "curves": {
                name: jnp.zeros((total_steps,), jnp.float32)
                for name in ("loss", "gradient_norm", *metric_names())
            },
        }
        if on_non_finite == "rewind":
            state["skips"] = jnp.zeros((total_steps,), bool)
        if digest_every_steps:
            state["checksums"] = jnp.zeros((-(-total_steps // digest_every_steps), 2), jnp.uint32)
        return state

    def fresh() -> dict[str, Any]:
        if mesh is None:
            return first_state(jax.tree.map(jnp.array, first_weights))
        # Spread from the first: no device ever holds more than its part.
        spread = jax.device_put(first_weights, sharding.weight_shardings(mesh, first_weights))
        made: dict[str, Any] = jax.jit(
            first_state, out_shardings=layout_of(jax.eval_shape(first_state, first_weights))
        )(spread)
        return made

    def layout_of(state: Any) -> Any:
        return sharding.state_shardings(mesh, state, state["params"]) if mesh else None

    def described() -> dict[str, Any]:
        """Shapes, dtypes and layout of the state, which is not made for them."""
        shapes = jax.eval_shape(first_state, first_weights)
        layout = layout_of(shapes) or jax.tree.map(lambda _: jnp.zeros(()).sharding, shapes)
        return jax.tree.map(
            lambda leaf, lies: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=lies), shapes, layout
        )

    if mesh:
        beside = jax.tree.map(np.asarray, tuple(frozen))
        frozen = jax.device_put(beside, sharding.weight_shardings(mesh, beside))
    points = evaluation.steps(total_steps) if evaluation else []
    clock = goodput or Goodput()

    def kept(state: dict[str, Any], measured: dict[str, np.ndarray]) -> dict[str, Any]:
        useful_seconds = np.asarray(clock.useful_seconds())
        return {"train": state, "measured": measured, "useful_seconds": useful_seconds}

    def resumed(reason: str | None = None) -> tuple[int, dict[str, Any], dict[str, np.ndarray]]:
        done, useful_seconds = 0, 0.0
        with clock.lost("restoring"):
            measured = {
                name: np.full(len(points), np.nan) for name in (evaluation.names if evaluation else ())
            }
            kinds = [kind for kind in (replicas, checkpoints, states) if kind]
            template = kept(described(), measured) if kinds else None
            if replicas:
                replicas.lay_out(template)
            sources = [(step, kind) for kind in kinds if (step := kind.newest())]
            if sources:
                done, source = max(sources, key=lambda found: found[0])  # of equals memory, then a checkpoint
                restored = source.restore(done, template)
                state, useful_seconds = restored["train"], float(restored["useful_seconds"])
                measured = {name: np.array(values) for name, values in restored["measured"].items()}
            else:
                state = fresh()
        clock.resumed(useful_seconds, reason)
        return done, state, measured

    # A function of its own: compiled once, not again for every shape of batch, and the step is the same with digests.
    @functools.partial(jax.jit, donate_argnums=0)
    def with_checksum(sums: jax.Array, params: Any, index: int) -> jax.Array:
        return sums.at[index].set(checksum.of_tree(params))

    end = total_steps if until_steps is None else min(until_steps, total_steps)
    start, state, measured = resumed()
    compiling = shared or SharedStep()
    # Variables that are not trained are constants of the program.
    constants = tuple(map(id, jax.tree.leaves(rest)))
    compiled_step = compiling.of(
        (graph, constants, optimizer, loss_function, gradient, on_non_finite, mesh),
        jax.jit(train_step, donate_argnums=0, out_shardings=layout_of(state)),
    )
    if start and notice:
        notice(f"going on after {start} of {total_steps} steps")
    done = start
    told = 0
    alone = jax.process_count() == 1
    while True:
        log = done > start and (done == end or done % log_every_steps == 0)
        stopping = stop is not None and done < end and (alone or log) and hosts.any_of(stop())
        due = done > start and (done == end or stopping or done % checkpoint_every_steps == 0)
        copied = (
            replicas is not None and start < done < end and not stopping and done % replicas.every_steps == 0
        )
        # One that a kill between a checkpoint and its own writing left out is made up for.
        lacking = states is not None and states.due(done) and (start < done or not states.has(done))
        staying = lacking and not stopping  # which leaves out the measurement
        if log or due or copied or staying:
            curves = _curves(state)
            bad = non_finite.bad_steps(curves, done)
            if on_non_finite == "rewind":
                skips = np.array(state["skips"])
                new = bad[~skips[bad]]
                if new.size and skips.sum() < most_skipped_steps:
                    skips[new[0]] = True
                    state = {}  # not beside the one that is restored
                    start, state, measured = resumed("rewound steps")
                    skips |= np.array(state["skips"])
                    state["skips"] = jax.device_put(skips, state["skips"].sharding)
                    done = start
                    if notice:
                        notice(f"step {new[0]} is not finite: rewound to step {start}, to skip its update")
                    continue
            else:
                new = bad if on_non_finite == "stop" else bad[most_skipped_steps:]
            if new.size:
                raise non_finite.error_of(int(new[0]), curves, tuple(map(int, bad[bad < new[0]])))
            if notice and on_non_finite == "skip":
                for step in bad[told:]:
                    notice(f"step {step} is not finite: its update was skipped")
                told = bad.size
            if log and on_log:
                on_log(done, {name: float(curve[done - 1]) for name, curve in curves.items()})
        unmeasured = evaluation and done in points and not stopping
        if evaluation and unmeasured and np.isnan(measured[evaluation.names[0]][points.index(done)]):
            with clock.lost("evaluating"):
                held = nnx.merge(graph, jax.tree.map(hosts.gathered, state["params"]), rest)
                values = dict(zip(evaluation.names, evaluation.measure(held), strict=True))
            for name, value in values.items():
                measured[name][points.index(done)] = value
            if on_evaluation:
                on_evaluation(done, values)
        if replicas and copied:
            with clock.lost("copying to memory"):
                replicas.save(done, kept(state, measured))
        if checkpoints and due:
            with clock.lost("checkpointing"):
                checkpoints.save(done, kept(state, measured))
                if stopping:
                    checkpoints.wait()
                    hosts.any_of(True)  # none ends before host 0 has written
        if states and staying:
            with clock.lost("checkpointing"):
                # Seconds are another run's tomorrow: without them the same training keeps the same bytes.
                states.save(done, kept(state, measured) | {"useful_seconds": np.zeros(())})
        if stopping:
            raise Preempted(done, total_steps, saved=checkpoints is not None and done > 0)
        if done == end:
            break
        with clock.reading():
            rows = batches(done)
        batch = sharding.place_batch(mesh, rows) if mesh else dict(rows)
        shape = tuple((name, array.shape) for name, array in batch.items())
        known = shape in compiling.shapes
        with sharding.on(mesh), contextlib.nullcontext() if known else clock.lost("compiling"):
            state = compiled_step(state, batch, *frozen)
        compiling.shapes.add(shape)
        done += 1
        if digest_every_steps and (done % digest_every_steps == 0 or done == total_steps):
            index = (done - 1) // digest_every_steps
            state["checksums"] = with_checksum(state["checksums"], state["params"], index)

    if checkpoints:
        with clock.lost("checkpointing"):
            checkpoints.wait()
    nnx.update(module, jax.tree.map(hosts.gathered, state["params"]))
    curves = _curves(state)
    return History(
        curves=curves,
        evaluation_steps=points,
        evaluations=measured,
        skipped_steps=_skipped(state, curves, done, on_non_finite),
        checksums=np.array(state["checksums"]) if digest_every_steps else None,
    )


def _skipped(
    state: Mapping[str, Any], curves: Mapping[str, np.ndarray], done: int, policy: Policy
) -> list[int]:
    if policy == "rewind":
        return [int(step) for step in np.flatnonzero(np.array(state["skips"]))]
    return [int(step) for step in non_finite.bad_steps(curves, done)]


def _curves(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    # Copies: on CPU a view would pin the buffer that the next step wants to reuse.
    return {name: np.array(curve) for name, curve in state["curves"].items()}
