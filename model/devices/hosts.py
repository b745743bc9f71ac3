"""Several hosts, one process each: how they join, agree, divide work, and fetch arrays that are spread over them.

Every function but ``join`` is a collective: all processes call it at the same point of the program. With one process
they communicate with nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from . import sharding


def join(coordinator: str, hosts: int, host: int) -> None:
    """Makes this process one of several; has to come before anything that asks for devices.

    Args:
        coordinator: ``address:port`` at which host 0 listens.
        hosts: Number of processes.
        host: This one's number, from 0.

    Raises:
        RuntimeError: They did not find each other.
    """
    # SIGTERM belongs to ``preemption``; JAX's own service would swallow it.
    jax.config.update("jax_enable_preemption_service", False)
    # Bound to the address itself: by default it would listen on every network of the machine.
    jax.distributed.initialize(
        coordinator, num_processes=hosts, process_id=host, coordinator_bind_address=coordinator
    )


def any_of(flag: bool) -> bool:
    """Whether it is true on any host."""
    return flag if jax.process_count() == 1 else bool(every(np.asarray(flag)).any())


def every(value: np.ndarray) -> np.ndarray:
    """The hosts' values, stacked: [hosts, ...], for a value of one shape and dtype on all."""
    if jax.process_count() == 1:
        return value[None]
    own = np.frombuffer(value.tobytes(), np.uint8)  # bytes, because JAX would round a float64
    found = np.asarray(multihost_utils.process_allgather(own))
    return np.frombuffer(found.tobytes(), value.dtype).reshape(-1, *value.shape)


def divided(rows: int, work: Callable[[Sequence[int]], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Work on rows, of which each host does its share; all get the same result, bit for bit.

    Args:
        rows: How many there are, at least 1.
        work: Row numbers, as many on every host (the last row may come again) -> arrays whose first axis is these rows,
            of the same names, dtypes and shapes on every host. It communicates with nobody.

    Returns:
        Arrays of all rows, in order.
    """
    share = -(-rows // jax.process_count())
    first = share * jax.process_index()
    own = work([min(row, rows - 1) for row in range(first, first + share)])
    return {name: every(values).reshape(-1, *values.shape[1:])[:rows] for name, values in own.items()}


def gathered(leaf: Any) -> Any:
    """The array, whole on a device of this host (see ``sharding.own``): programs that use it run here alone.

    A value that is no JAX array, or lies on this host's devices already, is returned unchanged.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    assert isinstance(leaf.sharding, NamedSharding)
    mesh = leaf.sharding.mesh
    assert isinstance(mesh, Mesh)
    whole = jax.jit(_same, out_shardings=NamedSharding(mesh, PartitionSpec()))(leaf)
    own = sharding.own(mesh)
    copies = [shard.data for shard in whole.addressable_shards if shard.device in own.devices.flat]
    return jax.make_array_from_single_device_arrays(leaf.shape, NamedSharding(own, PartitionSpec()), copies)


def _same(leaf: jax.Array) -> jax.Array:
    return leaf
