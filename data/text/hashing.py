"""Hashing by multiplying and mixing: the constants and steps of all 64-bit hashes here.

The functions are plain NumPy, so that code that only numbers training windows loads no compiler. ``kernels.py`` also
makes them known to Numba, which compiles them into every kernel that calls them; a change here compiles those anew.

None of these hashes is safe against deliberate collisions. Artifacts depend on them, so they never change.

References:
    Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64): ``GOLDEN`` and ``mix``.
    Fowler, Noll & Vo, FNV-1a, with its constants for 64 bits.
    Karp & Rabin 1987, "Efficient randomized pattern-matching algorithms": hashes that roll (``golden_power``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Unsigned = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd, so that multiplying by it loses nothing
MIX_FIRST, MIX_SECOND = (
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)  # SplitMix64's multipliers
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def mix(values: Any) -> Any:
    """Scrambles 64-bit numbers one to one (SplitMix64's output function).

    Args:
        values: uint64, outside of kernels an array of at least one dimension (NumPy warns when a scalar wraps).
    """
    values = (values ^ (values >> np.uint64(30))) * MIX_FIRST
    values = (values ^ (values >> np.uint64(27))) * MIX_SECOND
    return values ^ (values >> np.uint64(31))


def fnv(value: Any, symbol: Any) -> Any:
    """FNV-1a's step: the hash, so far ``value``, of one more byte or other symbol; it starts as ``FNV_OFFSET``."""
    return (value ^ np.uint64(symbol)) * FNV_PRIME


def golden_power(size: int) -> Any:
    """``GOLDEN ** size`` modulo 2**64, the factor that removes the oldest of ``size`` items from a rolling hash."""
    power = np.uint64(1)
    for _ in range(size):
        power *= GOLDEN
    return power
