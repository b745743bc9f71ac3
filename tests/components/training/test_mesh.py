"""A mesh that does not fit the devices or the batch is refused before anything is compiled."""

from __future__ import annotations

import jax
import pytest

from millrace.components.contract import ComponentError
from millrace.components.training import mesh
from millrace.components.training.mesh import MeshConfig


def test_one_device_needs_no_mesh() -> None:
    """Whatever the batch."""
    assert mesh.build(MeshConfig(), [7]) is None


def test_more_devices_than_there_are_is_an_error() -> None:
    """It says what was asked for, axis by axis, and what there is."""
    with pytest.raises(
        ComponentError, match=r"mesh of 6 devices \(data 2, fsdp 1, tensor 3, .* and 1 devices"
    ):
        mesh.build(MeshConfig(data=2, tensor=3), [6])


def test_rows_have_to_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that no axis names become fsdp; a batch that they do not divide names the next one that they do."""
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(ComponentError, match=r"a batch of 6 rows for 4 devices .* change batch_size to 8"):
        mesh.build(MeshConfig(tensor=2), [8, 6])


AXES = ("data", "fsdp", "tensor", "expert", "sequence")


@pytest.mark.parametrize("axis", AXES)
def test_each_axis_is_the_meshs(axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight devices along one axis: the mesh that is built, and for which this machine is too small, has just that one."""
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    sizes = dict.fromkeys(AXES, 1) | {axis: 8}
    wanted = ", ".join(f"{name}={size}" for name, size in sizes.items())
    with pytest.raises(ValueError, match=rf"mesh of 8 devices \(MeshShape\({wanted}\)\) and 1 "):
        mesh.build(MeshConfig.model_validate(sizes), [8])


@pytest.mark.parametrize("axis", AXES)
def test_only_some_axes_spread_rows(axis: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of heads and of rows' positions leave the batch whole; all others have rows of their own."""
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    sizes = dict.fromkeys(AXES, 1) | {axis: 8}
    message = "mesh of 8 devices" if axis in ("tensor", "sequence") else "a batch of 6 rows for 8 devices"
    with pytest.raises((ValueError, ComponentError), match=message):
        mesh.build(MeshConfig.model_validate(sizes), [6])
