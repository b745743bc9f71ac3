"""The name of a parameter: its path in the tree, by which an optimizer decides what happens to it."""

from __future__ import annotations

from typing import Any


def names_of(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names along a path of ``jax.tree_util``, whatever the kinds of containers.

    By name and not by number of axes, because layers are stacked: their norms' scales have two, like a matrix.
    """
    return tuple(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)
