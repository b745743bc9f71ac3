"""Several hosts, one process each: how they join, agree, and fetch arrays that are spread over them.

Every function but ``join`` is a collective: all processes call it at the same point of the program. With one process
they communicate with nobody.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec


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
    return np.asarray(multihost_utils.process_allgather(value))


def gathered(leaf: Any) -> Any:
    """The array, whole on every host; a value that is no JAX array, or is replicated already, is returned unchanged."""
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return leaf
    assert isinstance(leaf.sharding, NamedSharding)
    return jax.jit(_same, out_shardings=NamedSharding(leaf.sharding.mesh, PartitionSpec()))(leaf)


def _same(leaf: jax.Array) -> jax.Array:
    return leaf
