"""A training state as one file: safetensors named by their path in the state (``train.params.layers.attention.query``).

The same state is the same bytes, so that an artifact can hold it. A state that was written on any number of hosts and
devices is read on any other: host 0 writes whole arrays, and each host reads the shards of its own devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from millrace.model.devices import hosts

from . import integrity

FILE = "state.safetensors"


class OtherTraining(ValueError):
    """A state does not have the shape that this training gives it."""


def host_copy(state: Any) -> dict[str, np.ndarray]:
    """The arrays of a pytree by name, in memory of their own; a collective, and empty on all hosts but 0."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    for _, leaf in leaves:
        if isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
            leaf.copy_to_host_async()
    copies = {}
    for path, leaf in leaves:
        whole = hosts.gathered(leaf)
        if jax.process_index() == 0:
            copies[_name(path)] = np.array(whole, order="C")
    return copies


def write(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays into an existing folder and seals it (see ``integrity``).

    Raises:
        OSError, safetensors.SafetensorError: They could not be written.
    """
    save_file(dict(arrays), folder / FILE)
    integrity.seal(folder)


def read(folder: Path, template: Any) -> Any:
    """A state, or a part of it.

    Args:
        folder: Where ``write`` has put it.
        template: A pytree of what to read: arrays of NumPy's, or arrays or descriptions with layouts of JAX's.

    Raises:
        OtherTraining: The state is not of this shape.
    """
    file = folder / FILE
    with safe_open(file, framework="numpy") as stored:
        names = set(stored.keys())

        def read_leaf(path: Any, leaf: Any) -> Any:
            name = _name(path)
            value = stored.get_tensor(name) if name in names else None
            if value is None or value.shape != leaf.shape or value.dtype != leaf.dtype:
                got = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
                raise OtherTraining(f"{file}: got {got} for {name}, expected {leaf.dtype} {list(leaf.shape)}")
            if isinstance(leaf, np.ndarray):
                return value
            return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: value[index])

        return jax.tree_util.tree_map_with_path(read_leaf, template)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
