"""The peak of a device is looked up where its name is known, and measured elsewhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import pytest

from millrace.model.devices import peak_flops


@pytest.mark.parametrize(
    ("kind", "teraflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("TPU v5 lite", 197),
        ("TPU v5p", 459),
    ],
)
def test_known_accelerators_have_their_data_sheets_peak(kind: str, teraflops: int) -> None:
    device: Any = SimpleNamespace(device_kind=kind)
    assert peak_flops.flops_per_second(device, "bfloat16") == teraflops * 1e12


def test_an_unknown_device_is_measured() -> None:
    """The rate is one that a product of that size really took: between a billion and a quadrillion a second."""
    assert 1e9 < peak_flops.measured(jax.devices()[0], "float32", size=256) < 1e15
