"""The items that a step trains on: permutations of all items laid end to end, as a function of seed and step alone.

Small supervised sets (pairs, prompts) are not token streams: an item is used whole, and every item once before any is
used again. Laying the epochs end to end keeps every batch full, so that shapes do not change, and needs no state: a
resumed training asks for a step and gets it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


class Epochs:
    """The order in which ``items`` items are drawn.

    Args:
        seed: Seed of the permutations.
        items: How many items there are, at least 1.
        batch_size: How many a step takes.
    """

    def __init__(self, seed: int, items: int, batch_size: int) -> None:
        if items < 1 or batch_size < 1:
            raise ValueError(f"got {items} items and batch_size {batch_size}, expected at least 1 of each")
        self.items = items
        self.batch_size = batch_size

        @lru_cache(maxsize=4)
        def permutation(epoch: int) -> np.ndarray:
            return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(items)

        self._permutation = permutation

    def rows(self, step: int) -> np.ndarray:
        """Indices of the items of a step: int64 [batch_size]."""
        draws = range(step * self.batch_size, (step + 1) * self.batch_size)
        return np.asarray([self._permutation(draw // self.items)[draw % self.items] for draw in draws])
