"""Spreads a training over devices: a mesh with five axes, and the rules that lay arrays out on it.

Weights and activations name their axes logically (``embed``, ``heads``, ``batch``); ``RULES`` says which mesh axes split
each. The compiler (GSPMD) puts in the communication, so the model is written once and every layout computes the same
function. An axis of an array that does not divide stays whole, for example the single key-value head of multi-query
attention under tensor parallelism.

    data      rows of the batch; weights are copies
    fsdp      rows of the batch, and weights and moments in slices that are gathered where they are used
    tensor    heads, feed-forward width and vocabulary
    expert    rows of the batch, and the experts of sparse layers
    sequence  positions within a row

References:
    Xu et al. 2021, GSPMD, arXiv 2105.04663; Rajbhandari et al. 2020, ZeRO, arXiv 1910.02054, section 5 (fsdp);
    Shoeybi et al. 2019, Megatron-LM, arXiv 1909.08053, section 3 (tensor); Lepikhin et al. 2020, GShard,
    arXiv 2006.16668 (expert); Korthikanti et al. 2022, arXiv 2205.05198, section 4.2 (sequence).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

RULES: Mapping[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp", "expert"),
    "expert_batch": ("data", "fsdp"),
    "time": ("sequence",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "feed_forward": ("tensor",),
    "vocab": ("tensor",),
    "experts": ("expert",),
}

# Names of the last axes; a leading axis that has none counts layers.
WEIGHT_AXES: Mapping[str, tuple[str | None, ...]] = {
    "embedding": ("vocab", "embed"),
    "unembedding": ("vocab", "embed"),
    "attention.query": ("embed", "heads", None),
    "attention.key": ("embed", "heads", None),
    "attention.value": ("embed", "heads", None),
    "attention.out": ("heads", None, "embed"),
    "feed_forward.router": ("embed", None),
    "feed_forward.gate": ("experts", "embed", "feed_forward"),
    "feed_forward.up": ("experts", "embed", "feed_forward"),
    "feed_forward.out": ("experts", "feed_forward", "embed"),
}


@dataclass(frozen=True)
class MeshShape:
    """Number of devices along each axis; their product is the number of devices in all."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    expert: int = 1
    sequence: int = 1

    @property
    def devices(self) -> int:
        """Devices of the whole mesh."""
        return math.prod(asdict(self).values())

    def build(self) -> Mesh:
        """The mesh over this machine's (or cluster's) devices.

        Raises:
            ValueError: There are more or fewer devices than the mesh has.
        """
        found = jax.devices()
        if self.devices != len(found):
            raise ValueError(
                f"got a mesh of {self.devices} devices ({self}) and {len(found)} {found[0].platform} devices, expected "
                "equal numbers; change the mesh's axes"
            )
        axes = asdict(self)
        devices = np.asarray(found).reshape(tuple(axes.values()))
        return Mesh(devices, tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def own(mesh: Mesh) -> Mesh:
    """The devices on which this host computes by itself: all of a mesh that is its own, else one of its devices.

    Not all of its devices beside other hosts: a policy that sampled so was seen to hang on CPU (docs/log.md).
    """
    if jax.process_count() == 1:
        return mesh
    devices = np.asarray(mesh.local_devices[:1]).reshape((1,) * len(mesh.axis_names))
    return Mesh(devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def spec_for(axes: tuple[str | None, ...], shape: tuple[int, ...], sizes: Mapping[str, int]) -> PartitionSpec:
    """The mesh axes that split each axis of an array.

    Args:
        axes: Logical name of each of its last axes, None for one that is never split.
        shape: Its sizes; there may be further axes in front, which stay whole.
        sizes: Mesh axis -> devices.

    Returns:
        Mesh axes by array axis; those that do not divide an array's axis are left out, last ones first.
    """
    parts: list[tuple[str, ...] | None] = [None] * (len(shape) - len(axes))
    for name, size in zip(axes, shape[len(shape) - len(axes) :], strict=True):
        split = RULES[name] if name else ()
        while split and size % math.prod(sizes[axis] for axis in split):
            split = split[:-1]
        parts.append(split or None)
    return PartitionSpec(*parts)


def names_of(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The names along a path of ``jax.tree_util``, whatever the kinds of containers.

    By name and not by number of axes, because layers are stacked: their norms' scales have two, like a matrix.
    """
    return tuple(str(getattr(entry, "key", getattr(entry, "name", entry))) for entry in path)


def weight_shardings(mesh: Mesh, params: Any) -> Any:
    """The layout of every weight.

    Args:
        mesh: The devices.
        params: Pytree of arrays or their shapes, whose paths end in the decoder's names; a weight without a rule
            (norms, a reward model's head) is replicated on all devices.
    """

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = ".".join(names_of(path))
        for ending, axes in WEIGHT_AXES.items():
            if name == ending or name.endswith(f".{ending}"):
                has_experts = leaf.ndim - len(axes) == 1
                own = axes if axes[0] != "experts" or has_experts else axes[1:]
                return NamedSharding(mesh, spec_for(own, leaf.shape, mesh.shape))
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, params)


def state_shardings(mesh: Mesh, state: Any, params: Any) -> Any:
    """The layout of a training state: an array with a weight's path and shape is laid out like the weight, the rest is
    replicated.

    Args:
        mesh: The devices.
        state: Pytree that holds the weights and, under the same paths, their moments.
        params: The weights.
    """
    weights = weight_shardings(mesh, params)
    by_path = {
        jax.tree_util.keystr(path): (leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(weights), strict=True
        )
    }

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path)
        for ending, (shape, found) in by_path.items():
            if name.endswith(ending) and leaf.shape == shape:
                return found
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, state)


def place_batch(mesh: Mesh, batch: Mapping[str, np.ndarray | jax.Array]) -> dict[str, jax.Array]:
    """A batch with its rows spread over the mesh, and arrays that are spread already as they are.

    Every process is given the whole of an array and keeps its own rows.
    """

    def place(rows: np.ndarray) -> jax.Array:
        sharding = _rows_sharding(mesh, rows.shape)
        return jax.make_array_from_callback(rows.shape, sharding, lambda index: rows[index])

    return {
        name: rows if isinstance(rows, jax.Array) else place(np.asarray(rows)) for name, rows in batch.items()
    }


def read_own_rows(
    mesh: Mesh, rows: int, read: Callable[[Sequence[int]], Mapping[str, np.ndarray]]
) -> dict[str, jax.Array]:
    """Puts a batch on the devices; each process reads only the rows that its own devices hold.

    Args:
        mesh: The devices.
        rows: B, of the whole batch.
        read: Row numbers in [0, B), ascending -> arrays whose first axis is these rows.

    Returns:
        Arrays of the whole batch, [B, ...], spread over the mesh as ``place_batch`` does it.
    """
    held = _rows_sharding(mesh, (rows,)).addressable_devices_indices_map((rows,)).values()
    own = sorted({row for index in held if index for row in range(rows)[index[0]]})

    def place(part: np.ndarray) -> jax.Array:
        shape = (rows, *part.shape[1:])

        def lookup(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            return part[np.searchsorted(own, range(rows)[index[0]])]

        return jax.make_array_from_callback(shape, _rows_sharding(mesh, shape), lookup)

    return {name: place(part) for name, part in read(own).items()}


def _rows_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    return NamedSharding(mesh, spec_for(("batch", *(None,) * (len(shape) - 1)), shape, mesh.shape))


def on(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Within it programs are traced for the mesh; nothing for None."""
    return jax.set_mesh(mesh) if mesh else nullcontext()


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Lays an activation out by its logical axes; nothing without a mesh (see ``on``)."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not set(RULES["batch"]) <= set(mesh.axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, spec_for(axes, x.shape, mesh.shape))
