"""The devices of a training stage, as a spec lays them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pydantic import Field

from millrace.components.contract import ComponentError, Config

if TYPE_CHECKING:
    from flax import nnx
    from jax.sharding import Mesh


class MeshConfig(Config):
    """Devices along each axis of the mesh (see ``model/devices/sharding.py``)."""

    data: int = Field(default=1, ge=1, description="Copies of the weights, each with its rows of the batch.")
    fsdp: int | None = Field(
        default=None,
        ge=1,
        description="Slices of weights and moments, each with its rows; the remaining devices by default.",
    )
    tensor: int = Field(default=1, ge=1, description="Slices of heads, feed-forward width and vocabulary.")
    expert: int = Field(
        default=1, ge=1, description="Slices of a sparse layer's experts, each with its rows."
    )
    sequence: int = Field(default=1, ge=1, description="Slices of every row.")


def build(config: MeshConfig, batch_sizes: Sequence[int], rows_are: str = "batch_size") -> Mesh | None:
    """The mesh over all devices, those of other hosts too, or None for a single one.

    Args:
        config: The axes.
        batch_sizes: Rows of the batches, which have to divide.
        rows_are: The settings that give the rows, for messages.

    Raises:
        ComponentError: The devices or the rows do not divide by the axes.
    """
    import jax

    from millrace.model.devices.sharding import MeshShape

    found = jax.device_count()
    fixed = config.data * config.tensor * config.expert * config.sequence
    fsdp = config.fsdp or max(found // fixed, 1)
    if fixed * fsdp != found:
        raise ComponentError(
            f"got a mesh of {fixed * fsdp} devices (data {config.data}, fsdp {fsdp}, tensor {config.tensor}, expert "
            f"{config.expert}, sequence {config.sequence}) and {found} devices, expected equal numbers; change mesh"
        )
    spread = config.data * fsdp * config.expert
    if bad := [rows for rows in batch_sizes if rows % spread]:
        raise ComponentError(
            f"got a batch of {bad[0]} rows for {spread} devices (data x fsdp x expert), expected a multiple; change "
            f"{rows_are} to {math.ceil(bad[0] / spread) * spread}, or mesh"
        )
    if found == 1:
        return None
    return MeshShape(config.data, fsdp, config.tensor, config.expert, config.sequence).build()


def in_host_memory(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Inside, arrays for a mesh are made in the host's memory, from which they are spread: they may fill no one device."""
    import jax

    if mesh is None:
        return nullcontext()
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def place(mesh: Mesh | None, module: nnx.Module) -> None:
    """Puts a module, in place, on the devices on which this host computes by itself (see ``sharding.own``)."""
    import jax
    from flax import nnx

    from millrace.model.devices import sharding

    if mesh is not None:
        params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
        nnx.update(module, jax.device_put(params, sharding.weight_shardings(sharding.own(mesh), params)))


def alone(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Inside, programs of this host by itself divide the rows of their batches over its devices."""
    from millrace.model.devices import sharding

    return sharding.on(sharding.own(mesh) if mesh else None)
