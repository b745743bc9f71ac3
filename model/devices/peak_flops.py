"""Peak FLOP/s of a device: the denominator of model FLOPs utilisation.

Accelerators are looked up by name. Anything else, a CPU above all, is measured once with a square product, because its
nominal peak depends on clocks and cores that are not published.

References:
    Chowdhery et al. 2022, PaLM, arXiv 2204.02311, appendix B (model FLOPs utilisation). Dense bfloat16 peaks are those
    of the vendors' data sheets: NVIDIA A100, H100, H200, B200; Google Cloud TPU v4, v5e, v5p, v6e.
"""

from __future__ import annotations

import functools
import statistics
import time

import jax
import jax.numpy as jnp

# Beginnings of device names; longer ones first where one begins another.
BFLOAT16_FLOPS_PER_SECOND = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2_250e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}
MEASURED_SIZE = 1_536
MEASURED_TIMES = 5


def flops_per_second(device: jax.Device, compute_dtype: str) -> float:  # pyright: ignore[reportInvalidTypeForm]  # JAX assigns the name
    """Peak floating-point operations a second of one device.

    Args:
        device: The device.
        compute_dtype: ``bfloat16`` is looked up; ``float32`` and unknown devices are measured.
    """
    if compute_dtype == "bfloat16":
        for name, peak in BFLOAT16_FLOPS_PER_SECOND.items():
            if device.device_kind.startswith(name):
                return peak
    return measured(device, compute_dtype)


@functools.cache
def measured(device: jax.Device, compute_dtype: str, size: int = MEASURED_SIZE) -> float:  # pyright: ignore[reportInvalidTypeForm]
    """The rate of a square product on a device, the median of a few; found out once."""
    with jax.default_device(device):
        matrix = jnp.ones((size, size), compute_dtype)
        product = jax.jit(jnp.dot)
        product(matrix, matrix).block_until_ready()
        times = []
        for _ in range(MEASURED_TIMES):
            start = time.perf_counter()
            product(matrix, matrix).block_until_ready()
            times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times)
