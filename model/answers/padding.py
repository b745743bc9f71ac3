"""Pads many lengths to few shapes, to keep the number of compilations small.

XLA compiles one program per shape, at seconds each. Lengths are rounded up to 32, 48, 64, 96, 128, 192 ...: two sizes
per doubling waste a quarter of a row at worst and an eighth on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SMALLEST_TOKENS = 32


def padded_length(length: int, smallest: int = SMALLEST_TOKENS) -> int:
    """The smallest bucket, of ``smallest`` times 1, 1.5, 2, 3, 4, 6 ..., that holds ``length``."""
    size = smallest
    while size < length:
        if size + size // 2 >= length:
            return size + size // 2
        size *= 2
    return size


def pad_rows(rows: Sequence[Sequence[int]], count: int, width: int, fill: int = 0) -> np.ndarray:
    """[count, width] int32: the rows padded to the right, then rows of padding only."""
    padded = np.full((count, width), fill, np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def batches_by_length(
    lengths: Sequence[int], width_limit: int, batch_tokens: int, smallest: int = SMALLEST_TOKENS
) -> list[tuple[int, int, list[int]]]:
    """Groups rows of like length.

    Args:
        lengths: Length of each row.
        width_limit: Longest row allowed; no bucket exceeds it.
        batch_tokens: Most tokens (rows times width) of one batch.
        smallest: The smallest bucket.

    Returns:
        (rows of the batch's shape, width, indices of the real rows) per batch. A bucket always has the same shape, so
        that it compiles once; only when all its rows fit into a smaller power of two is the shape that.
    """
    by_width: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_width.setdefault(min(padded_length(length, smallest), width_limit), []).append(index)
    batches = []
    for width in sorted(by_width):
        members = by_width[width]
        most = max(batch_tokens // width, 1)
        rows = min(most, 1 << (len(members) - 1).bit_length())
        batches += [(rows, width, members[i : i + rows]) for i in range(0, len(members), rows)]
    return batches
