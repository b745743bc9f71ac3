"""Muon: momentum, with every matrix made orthogonal before the step; AdamW trains all other weights.

A gradient's few large singular values drown all other directions; Newton-Schulz sets all of them near 1.
Optax brings momentum and iteration. This module adds the facts that optax cannot know: which weights are matrices, and
which of their axes are inputs and outputs. Layers are stacked on a leading axis (and experts on a second one), and
attention has heads: the axes are counted from the end, so that every leading axis is a batch of matrices, each made
orthogonal by itself. A query is D by N H and not one matrix a head.

One learning rate and one weight decay serve both groups, because an update is scaled to the root mean square of
AdamW's: 0.2, where an orthogonal matrix of a by b entries has 1 / sqrt(max(a, b)). So the search for one optimizer's
settings can begin at the other's.

References:
    Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks, kellerjordan.github.io/posts/muon
    (the coefficients; embeddings and the output layer by AdamW).
    Liu et al. 2025, Muon is Scalable for LLM Training, arXiv 2502.16982, section 2.2 (weight decay; 0.2 sqrt(max(a, b))
    to share AdamW's learning rate).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax
from optax import contrib

from millrace.model.devices.sharding import names_of

ADAMW_RMS = 0.2
MOMENTUM = 0.95

# Weight -> its axes (inputs, outputs), counted from the end. A name that is not here is AdamW's: embeddings, an untied
# output, norms, biases, and routers, whose columns are classes as an output layer's are.
_MATRICES: dict[tuple[str, ...], contrib.MuonDimensionNumbers] = {
    ("attention", "query"): contrib.MuonDimensionNumbers((-3,), (-2, -1)),
    ("attention", "key"): contrib.MuonDimensionNumbers((-3,), (-2, -1)),
    ("attention", "value"): contrib.MuonDimensionNumbers((-3,), (-2, -1)),
    ("attention", "out"): contrib.MuonDimensionNumbers((-3, -2), (-1,)),
    ("feed_forward", "gate"): contrib.MuonDimensionNumbers((-2,), (-1,)),
    ("feed_forward", "up"): contrib.MuonDimensionNumbers((-2,), (-1,)),
    ("feed_forward", "out"): contrib.MuonDimensionNumbers((-2,), (-1,)),
}


def matrix_axes(params: Any) -> Any:
    """For each parameter its axes as inputs and outputs of a matrix, or None: a tree like ``params``."""

    def axes(path: tuple[Any, ...], _: Any) -> contrib.MuonDimensionNumbers | None:
        return _MATRICES.get(names_of(path)[-2:])

    return jax.tree_util.tree_map_with_path(axes, params)


def muon(
    schedule: optax.Schedule | float, *, weight_decay: float, others: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Muon for hidden matrices beside another optimizer for the rest.

    Args:
        schedule: Learning rate per step, or a constant; AdamW's (see the module).
        weight_decay: Decoupled decay of the matrices, multiplied by the learning rate.
        others: The optimizer of all other parameters, its learning rate and decay included.
    """
    matrices = optax.chain(
        contrib.scale_by_muon(beta=MOMENTUM, weight_dimension_numbers=matrix_axes),
        optax.stateless(_match_adamw),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(schedule),
    )

    def labels(params: Any) -> Any:
        return jax.tree.map(
            lambda _, axes: "others" if axes is None else "matrices", params, matrix_axes(params)
        )

    return optax.partition({"matrices": matrices, "others": others}, labels)


def _match_adamw(updates: Any, _: Any) -> Any:
    """Scales orthogonal updates to AdamW's root mean square."""

    def scaled(update: jax.Array, axes: Any) -> jax.Array:
        longer = max(math.prod(update.shape[axis] for axis in side) for side in axes)
        return update * (ADAMW_RMS * math.sqrt(longer))

    return jax.tree.map(scaled, updates, matrix_axes(updates))
