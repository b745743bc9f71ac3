"""Gradient accumulation: computes the gradient of a batch from consecutive microbatches, in the memory of one.

The mean over a batch's learnt tokens is not the mean of the microbatches' means when their numbers of learnt tokens
differ: packed rows and chats learn more tokens in one microbatch than in the next. Each therefore enters with its share
of the whole batch's weight. A term that is no such mean (a balance of experts, say) becomes its weighted mean over the
microbatches.

Sums are in another order than the unsplit batch's, so the last bits differ: the number of parts is part of a training's
identity, like its batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Batch = Mapping[str, jax.Array]
Loss = Callable[[Any, Batch], tuple[jax.Array, Mapping[str, jax.Array]]]
Gradient = Callable[[Any, Batch], tuple[tuple[jax.Array, Mapping[str, jax.Array]], Any]]


def whole(loss: Loss) -> Gradient:
    """The gradient of a batch at once: ``(params, batch)`` to ``((loss, metrics), gradients)``."""
    return jax.value_and_grad(loss, has_aux=True)


def split(microbatches: int, weight: Callable[[Batch], jax.Array]) -> Callable[[Loss], Gradient]:
    """As ``whole``, in equal parts of the batch.

    Args:
        microbatches: Number of parts; divides the rows of every batch.
        weight: Number of learnt targets in a batch, over which the loss is a mean, scalar float32.

    Returns:
        From a loss to its gradient function. Loss, metrics and gradients are float32 sums.

    Raises:
        ValueError: When it is traced, for rows that the number does not divide.
    """
    if microbatches == 1:
        return whole

    def gradient_of(loss: Loss) -> Gradient:
        def gradient(params: Any, batch: Batch) -> tuple[tuple[jax.Array, Mapping[str, jax.Array]], Any]:
            total = jnp.maximum(weight(batch), 1.0)

            def add(sums: Any, part: Batch) -> tuple[Any, None]:
                share = weight(part) / total
                values = whole(loss)(params, part)
                return jax.tree.map(lambda sum_, x: sum_ + share * x.astype(jnp.float32), sums, values), None

            parts = {name: _parts(name, rows, microbatches) for name, rows in batch.items()}
            shapes = jax.eval_shape(whole(loss), params, jax.tree.map(lambda part: part[0], parts))
            zeros = jax.tree.map(lambda value: jnp.zeros(value.shape, jnp.float32), shapes)
            sums: tuple[tuple[jax.Array, Mapping[str, jax.Array]], Any] = jax.lax.scan(add, zeros, parts)[0]
            return sums

        return gradient

    return gradient_of


def _parts(name: str, rows: jax.Array, microbatches: int) -> jax.Array:
    """[k, B/k, ...]: every k-th row, so that rows which lie on different devices stay there."""
    if rows.shape[0] % microbatches:
        raise ValueError(
            f"got {rows.shape[0]} rows of {name!r} in {microbatches} microbatches, expected a number that divides them"
        )
    return rows.reshape(-1, microbatches, *rows.shape[1:]).swapaxes(0, 1)
