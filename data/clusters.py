"""Connected components of "is a duplicate of", and the one document of each that stays.

Union-find over whole arrays: every round hooks the root of each edge's larger label under the smaller and then
compresses all paths. Labels only fall, so the result does not depend on the order of the edges or on threads, and a
chain of a million links needs some twenty rounds instead of a million steps in Python.

References:
    Shiloach & Vishkin 1982, "An O(log n) parallel connectivity algorithm".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def components(count: int, edges: Integers) -> Integers:
    """Labels the connected components of a graph.

    Args:
        count: Nodes, numbered from 0.
        edges: int64 [edges, 2].

    Returns:
        int64 [count]: the smallest node of each node's component.
    """
    labels = np.arange(count)
    one, two = edges[:, 0], edges[:, 1]
    while True:
        low, high = np.minimum(labels[one], labels[two]), np.maximum(labels[one], labels[two])
        apart = low != high
        if not apart.any():
            return labels
        np.minimum.at(labels, high[apart], low[apart])
        while True:
            shorter = labels[labels]
            if np.array_equal(shorter, labels):
                break
            labels = shorter


def survivors(labels: Integers, preference: Integers) -> Integers:
    """The member of each node's component that is preferred.

    Args:
        labels: Component of each node, as of ``components``.
        preference: int64 [count], the lowest stays; of equals the lower node.

    Returns:
        int64 [count]: the survivor of each node's component.
    """
    order = np.lexsort((np.arange(labels.size), preference, labels))
    grouped = labels[order]
    is_first = np.ones(labels.size, bool)
    is_first[1:] = grouped[1:] != grouped[:-1]
    best = np.empty(labels.size, np.int64)
    best[grouped[is_first]] = order[is_first]
    return best[labels]
