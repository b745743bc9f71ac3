"""Texts with every character beyond ASCII exchanged for what it becomes, by compiled code.

What a character becomes is asked of Python once, for all 256 characters of its block together when the first of them is
met; from then on it is a table look-up. A character costs some 3 ns where ``str.translate`` costs 30, and threads do not
wait for each other. ASCII is left as it is, because callers treat its bytes with a table of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .filters.batch import TextBatch
from .kernels import kernel

BLOCKS = 0x110000 // 256


class Tables(NamedTuple):
    """What characters become, as kernels look it up.

    Attributes:
        rows: Which row of ``starts`` a block of 256 code points has, or -1 before it was met, int32 [4352].
        starts: Where in ``pool`` each character's bytes start, one character after the other, int64 [256 rows + 1].
        pool: UTF-8.
    """

    rows: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    pool: npt.NDArray[np.uint8]


class CharacterMap:
    """A function of single characters over batches of texts; it may be used by several threads at once."""

    def __init__(self, becomes: Callable[[str], str]) -> None:
        """Makes an empty table.

        Args:
            becomes: What a character becomes: any text, also none. It is never asked for ASCII.
        """
        self._becomes = becomes
        self._lock = threading.Lock()
        self._tables = Tables(np.full(BLOCKS, -1, np.int32), np.zeros(1, np.int64), np.zeros(0, np.uint8))

    def __call__(self, batch: TextBatch) -> TextBatch:
        """The batch with its characters exchanged; itself when all of it is ASCII."""
        is_met = np.zeros(BLOCKS, np.bool_)
        is_beyond = _blocks(batch.data, batch.offsets, is_met)
        if not is_beyond.any():
            return batch
        tables = self._cover(np.flatnonzero(is_met))
        sizes = _sizes(batch.data, batch.offsets, is_beyond, *tables)
        offsets = np.zeros(sizes.size + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        return TextBatch(_exchanged(batch.data, batch.offsets, is_beyond, *tables, offsets), offsets)

    def _cover(self, blocks: npt.NDArray[np.int64]) -> Tables:
        """Tables that hold all of these blocks."""
        if (self._tables.rows[blocks] >= 0).all():
            return self._tables
        with self._lock:
            rows, starts, pool = self._tables
            rows, lengths, parts = rows.copy(), [np.diff(starts)], [pool]
            for block in blocks[rows[blocks] < 0].tolist():
                # Surrogates have no UTF-8, so no text has them.
                made = [self._becomes(chr(256 * block + at)).encode(errors="ignore") for at in range(256)]
                rows[block] = rows.max() + 1
                lengths.append(np.array([len(one) for one in made], np.int64))
                parts.append(np.frombuffer(b"".join(made), np.uint8))
            starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
            self._tables = Tables(rows, starts, np.concatenate(parts))
            return self._tables


def is_beyond_ascii(batch: TextBatch) -> npt.NDArray[np.bool_]:
    """Which texts have a character beyond ASCII, bool [documents]."""
    found: npt.NDArray[np.bool_] = _blocks(batch.data, batch.offsets, np.zeros(BLOCKS, np.bool_))
    return found


@kernel
def _decode(data: Any, at: int, end: int) -> Any:
    """The code point that starts at a byte of 128 or more, and where the next one starts; 0 for what is no UTF-8."""
    first = np.int64(data[at])
    size = 4 if first >= 240 else 3 if first >= 224 else 2
    if first < 192 or at + size > end:
        return 0, at + 1
    point = first & (0xFF >> (size + 1))
    for place in range(at + 1, at + size):
        point = (point << 6) | (np.int64(data[place]) & 63)
    return (point if point < 0x110000 else 0), at + size


@kernel
def _blocks(data: Any, offsets: Any, is_met: Any) -> Any:
    is_beyond = np.zeros(offsets.size - 1, np.bool_)
    for row in range(offsets.size - 1):
        high = np.uint8(0)
        for at in range(offsets[row], offsets[row + 1]):
            high |= data[at]
        is_beyond[row] = high >= 128
        at = offsets[row]
        while high >= 128 and at < offsets[row + 1]:
            if data[at] < 128:
                at += 1
            else:
                point, at = _decode(data, at, offsets[row + 1])
                is_met[point >> 8] = True
    return is_beyond


@kernel
def _sizes(data: Any, offsets: Any, is_beyond: Any, rows: Any, starts: Any, pool: Any) -> Any:
    sizes = offsets[1:] - offsets[:-1]
    for row in range(offsets.size - 1):
        if not is_beyond[row]:
            continue
        size, at = 0, offsets[row]
        while at < offsets[row + 1]:
            if data[at] < 128:
                size += 1
                at += 1
            else:
                point, at = _decode(data, at, offsets[row + 1])
                entry = 256 * np.int64(rows[point >> 8]) + (point & 255)
                size += starts[entry + 1] - starts[entry]
        sizes[row] = size
    return sizes


@kernel
def _exchanged(
    data: Any, offsets: Any, is_beyond: Any, rows: Any, starts: Any, pool: Any, new_offsets: Any
) -> Any:
    out = np.empty(new_offsets[-1], np.uint8)
    for row in range(offsets.size - 1):
        at, written = offsets[row], new_offsets[row]
        if not is_beyond[row]:
            out[written : new_offsets[row + 1]] = data[at : offsets[row + 1]]
            continue
        while at < offsets[row + 1]:
            if data[at] < 128:
                out[written] = data[at]
                written += 1
                at += 1
            else:
                point, at = _decode(data, at, offsets[row + 1])
                entry = 256 * np.int64(rows[point >> 8]) + (point & 255)
                for place in range(starts[entry], starts[entry + 1]):
                    out[written] = pool[place]
                    written += 1
    return out
