"""Figures in few digits, the same in reports, on the terminal and in a cluster's page; it loads nothing."""

from __future__ import annotations

import math


def number(value: float | None, missing: str = "") -> str:
    """A figure as people read it: 1,234,567, 0.0312, 12.5.

    Args:
        value: Whole numbers have all their digits, others four, and one behind the point from 100 on.
        missing: Shown for None and NaN.
    """
    if value is None or math.isnan(value):
        return missing
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def count(value: float) -> str:
    """A count: all digits below ten thousand, then thousands, millions and thousands of millions."""
    for limit, divisor, unit in ((1e4, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if abs(value) < limit:
            return f"{value:,.0f}" if divisor == 1 else f"{value / divisor:,.1f}{unit}"
    return f"{value / 1e9:,.1f}G"


def size(value: float) -> str:
    """Bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.1f} {unit}" if unit == "GiB" else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
