"""Initial weights of a layer, cut from one draw.

A random generator is the costliest thing to compile in a program that only makes weights: one draw per matrix took 2 s
for any size of model, one per layer stack takes a quarter of that.
"""

from __future__ import annotations

import math

import jax


class InitialWeights:
    """Standard normal numbers, each handed out once.

    Args:
        values: [n] float32.
    """

    def __init__(self, values: jax.Array) -> None:
        self._values = values
        self._taken = 0

    def take(self, shape: tuple[int, ...], deviation: float) -> jax.Array:
        """The next numbers, in this shape, scaled to this standard deviation.

        Raises:
            ValueError: Fewer are left.
        """
        start, self._taken = self._taken, self._taken + math.prod(shape)
        if self._taken > self._values.shape[0]:
            raise ValueError(f"got {self._values.shape[0]} random numbers, expected at least {self._taken}")
        return self._values[start : self._taken].reshape(shape) * deviation
