"""The supervised training loop that pretraining, instruction tuning and reward modelling share.

One jitted step with donated buffers. Loss curves are arrays inside the training state, written on the device: the host
waits for the device only when it logs, and a checkpoint holds the curve too, so a training that was killed and resumed
ends with the same weights and the same report, bit for bit. Batches are a function of the step alone, which is why
the step is all the data state there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from . import accumulate
from .checkpoint import Checkpoints

Batch = Mapping[str, np.ndarray]
LossFunction = Callable[[Any, Mapping[str, jax.Array]], tuple[jax.Array, Mapping[str, jax.Array]]]


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or not a number.

    Attributes:
        step: The first step (from 0) whose loss is not finite.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss of step {step} is not finite")
        self.step = step


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
    """

    curves: Mapping[str, np.ndarray]
    evaluation_steps: Sequence[int]
    evaluations: Mapping[str, np.ndarray]


def fit(
    module: nnx.Module,
    optimizer: optax.GradientTransformation,
    loss_function: LossFunction,
    batches: Callable[[int], Batch],
    total_steps: int,
    *,
    gradient: Callable[[accumulate.Loss], accumulate.Gradient] = accumulate.whole,
    checkpoints: Checkpoints | None = None,
    checkpoint_every_steps: int = 50,
    log_every_steps: int = 10,
    on_log: Callable[[int, Mapping[str, float]], None] | None = None,
    evaluation: Evaluation | None = None,
    on_evaluation: Callable[[int, Mapping[str, float]], None] | None = None,
) -> History:
    """Trains a module in place.

    Args:
        module: Whose ``nnx.Param`` variables are trained.
        optimizer: The gradient transformation.
        loss_function: (module, batch) -> (scalar loss, dictionary of scalar metrics); traced once per batch shape.
        batches: Step -> arrays; a pure function, because a resumed training asks again.
        total_steps: Number of steps.
        gradient: How a batch's gradient is computed: at once, or ``accumulate.split`` into microbatches.
        checkpoints: Where to keep and look for the state; None starts afresh and keeps nothing.
        checkpoint_every_steps: Steps between checkpoints.
        log_every_steps: Steps between calls of ``on_log``; the host waits for the device then.
        on_log: Called with the number of finished steps and the values of the last one.
        evaluation: Held-out measurement.
        on_evaluation: Called with the number of finished steps and the values.

    Returns:
        The curves, also of the steps before a resumption.

    Raises:
        NonFiniteLoss: At the next log or checkpoint after it happened; no checkpoint holds it.
    """
    graph, variables, rest = nnx.split(module, nnx.Param, ...)

    def loss_of(params: Any, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        loss, metrics = loss_function(nnx.merge(graph, params, rest), batch)
        return loss, dict(metrics)

    def train_step(state: dict[str, Any], batch: Mapping[str, jax.Array]) -> dict[str, Any]:
        (loss, metrics), gradients = gradient(loss_of)(state["params"], batch)
        updates, moments = optimizer.update(gradients, state["optimizer"], state["params"])
        values = {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **metrics}
        step = state["step"]
        return {
            "params": optax.apply_updates(state["params"], updates),
            "optimizer": moments,
            "step": step + 1,
            "curves": {name: curve.at[step].set(values[name]) for name, curve in state["curves"].items()},
        }

    points = evaluation.steps(total_steps) if evaluation else []
    measured = {name: np.full(len(points), np.nan) for name in (evaluation.names if evaluation else ())}
    params = jax.tree.map(jnp.copy, nnx.to_pure_dict(variables))
    metric_names = jax.eval_shape(loss_of, params, dict(batches(0)))[1] if total_steps else {}
    state = {
        "params": params,
        "optimizer": optimizer.init(params),
        "step": jnp.zeros((), jnp.int32),
        "curves": {
            name: jnp.zeros((total_steps,), jnp.float32) for name in ("loss", "gradient_norm", *metric_names)
        },
    }
    start = 0
    if checkpoints and (found := checkpoints.restore_latest({"train": state, "measured": measured})):
        start, restored = found
        state = restored["train"]
        measured = {name: np.array(values) for name, values in restored["measured"].items()}

    compiled_step = jax.jit(train_step, donate_argnums=0)
    for done in range(start, total_steps + 1):
        due = done == total_steps or (done > start and done % checkpoint_every_steps == 0)
        log = done > start and (done == total_steps or done % log_every_steps == 0)
        if log or due:
            curves = _curves(state)
            _require_finite(curves["loss"][:done])
            if log and on_log:
                on_log(done, {name: float(curve[done - 1]) for name, curve in curves.items()})
        if evaluation and done in points and np.isnan(measured[evaluation.names[0]][points.index(done)]):
            values = dict(
                zip(
                    evaluation.names, evaluation.measure(nnx.merge(graph, state["params"], rest)), strict=True
                )
            )
            for name, value in values.items():
                measured[name][points.index(done)] = value
            if on_evaluation:
                on_evaluation(done, values)
        if checkpoints and due and done > start:
            checkpoints.save(done, {"train": state, "measured": measured})
        if done < total_steps:
            state = compiled_step(state, dict(batches(done)))

    nnx.update(module, state["params"])
    return History(curves=_curves(state), evaluation_steps=points, evaluations=measured)


def _curves(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    # Copies: on CPU a view would pin the buffer that the next step wants to reuse.
    return {name: np.array(curve) for name, curve in state["curves"].items()}


def _require_finite(losses: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise NonFiniteLoss(int(bad[0]))
