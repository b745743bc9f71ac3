"""Replaces every character beyond ASCII by its image under a mapping, by compiled code.

Python computes the images of all 256 characters of a block once, when the first of them is met; from then on they are a
table look-up. A character costs some 3 ns where ``str.translate`` costs 30, and threads do not wait for each other.
ASCII is left as it is, because callers treat its bytes with a table of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .batch import TextBatch
from .kernels import kernel
from .simd import WIDTH, bytes_between, copy_bytes, first_bit

BLOCKS = 0x110000 // 256
END = "\x1f"  # at the end of what is written and at the start of what follows: neither is written


class Tables(NamedTuple):
    """The images of characters, as kernels look them up.

    Attributes:
        rows: Row of ``starts`` for each block of 256 code points, or -1 before it was met, int32 [4352].
        starts: Where in ``pool`` each character's bytes start, one character after the other, int64 [256 rows + 1].
        pool: UTF-8.
        growth: Bytes that a byte of a text becomes at most.
    """

    rows: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    pool: npt.NDArray[np.uint8]
    growth: int


class Beyond(NamedTuple):
    """The characters of a batch beyond ASCII.

    Attributes:
        is_beyond: Whether each text has such characters, bool [documents].
        blocks: Whether each block of 256 code points occurs, bool [4352].
        is_wanted: Whether each text has one of the wanted characters, bool [documents].
    """

    is_beyond: npt.NDArray[np.bool_]
    blocks: npt.NDArray[np.bool_]
    is_wanted: npt.NDArray[np.bool_]


class CharacterMap:
    """A function of single characters over batches of texts; it may be used by several threads at once."""

    def __init__(self, becomes: Callable[[str], str]) -> None:
        """Makes an empty table.

        Args:
            becomes: Character -> its image: any text, also none. It is never asked for ASCII. Where an image ends and
                the next begins with ``END``, both are left out.
        """
        self._becomes = becomes
        self._lock = threading.Lock()
        self._tables = Tables(np.full(BLOCKS, -1, np.int32), np.zeros(1, np.int64), np.zeros(0, np.uint8), 1)

    def __call__(self, batch: TextBatch, found: Beyond | None = None) -> TextBatch:
        """The batch with its characters exchanged; itself when all of it is ASCII.

        Args:
            batch: The texts.
            found: Result of ``beyond_ascii`` for them, if already known.
        """
        found = beyond_ascii(batch) if found is None else found
        if not found.is_beyond.any():
            return batch
        tables = self._cover(np.flatnonzero(found.blocks))
        return TextBatch(*_exchanged(batch.data, batch.offsets, found.is_beyond, *tables))

    def _cover(self, blocks: npt.NDArray[np.int64]) -> Tables:
        """Tables that hold all of these blocks."""
        if (self._tables.rows[blocks] >= 0).all():
            return self._tables
        with self._lock:
            rows, starts, pool, _ = self._tables
            rows, lengths, parts = rows.copy(), [np.diff(starts)], [pool]
            for block in blocks[rows[blocks] < 0].tolist():
                # Surrogates have no UTF-8, so no text has them.
                made = [self._becomes(chr(256 * block + at)).encode(errors="ignore") for at in range(256)]
                rows[block] = rows.max() + 1
                lengths.append(np.array([len(one) for one in made], np.int64))
                parts.append(np.frombuffer(b"".join(made), np.uint8))
            sizes = np.concatenate(lengths)
            starts = np.concatenate([[0], np.cumsum(sizes)])
            growth = max(1, (int(sizes.max()) + 1) // 2)  # no character beyond ASCII has less than two bytes
            self._tables = Tables(rows, starts, np.concatenate(parts), growth)
            return self._tables


def beyond_ascii(batch: TextBatch, wanted: npt.NDArray[np.bool_] | None = None) -> Beyond:
    """Looks for characters beyond ASCII, once for all maps that are to exchange them.

    Args:
        batch: The texts.
        wanted: By code point, which characters are asked for besides, bool [up to 0x110000].
    """
    return Beyond(*_beyond(batch.data, batch.offsets, np.zeros(1, np.bool_) if wanted is None else wanted))


@kernel
def _decode(data: Any, at: Any, end: Any) -> Any:
    """The code point that starts at a byte of 128 or more, and where the next one starts; 0 for invalid UTF-8."""
    first = np.uint64(data[at])
    size = np.uint64(4) if first >= 240 else np.uint64(3) if first >= 224 else np.uint64(2)
    if first < 192 or at + size > end:
        return np.uint64(0), at + np.uint64(1)
    point = first & (np.uint64(0x7F) >> size)
    for place in range(at + np.uint64(1), at + size):
        point = (point << np.uint64(6)) | (np.uint64(data[place]) & np.uint64(63))
    return (point if point < 0x110000 else np.uint64(0)), at + size


@kernel
def _ascii_end(data: Any, at: Any, end: Any) -> Any:
    """Where the run of ASCII that starts at a byte ends, 64 bytes at a time."""
    at, end = np.int64(at), np.int64(end)
    while at + WIDTH <= data.size and at < end:
        beyond = bytes_between(data, at, 0x80, 0xFF)
        if beyond:
            return np.uint64(min(at + first_bit(beyond), end))
        at += WIDTH
    while at < end and data[at] < 128:
        at += 1
    return np.uint64(min(at, end))


@kernel
def _beyond(data: Any, offsets: Any, wanted: Any) -> Any:
    is_beyond = np.zeros(offsets.size - 1, np.bool_)
    is_wanted = np.zeros(offsets.size - 1, np.bool_)
    blocks = np.zeros(BLOCKS, np.bool_)
    for row in range(offsets.size - 1):
        at, end = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        high = np.uint8(0)
        for place in range(at, end):
            high |= data[place]
        if high < 128:
            continue
        is_beyond[row] = True
        while at < end:
            if data[at] < 128:
                at = _ascii_end(data, at, end)
                continue
            point, at = _decode(data, at, end)
            blocks[point >> np.uint64(8)] = True
            if point < wanted.size:
                is_wanted[row] |= wanted[point]
    return is_beyond, blocks, is_wanted


@kernel
def _exchanged(
    data: Any, offsets: Any, is_beyond: Any, rows: Any, starts: Any, pool: Any, growth: int
) -> Any:
    # Room for the worst; what is not written to costs no memory.
    out = np.empty(growth * (offsets[-1] - offsets[0]), np.uint8)
    ends = np.zeros(offsets.size, np.int64)
    written = np.uint64(0)
    for row in range(offsets.size - 1):
        at, end = np.uint64(offsets[row]), np.uint64(offsets[row + 1])
        while at < end:
            if data[at] < 128:
                stop = _ascii_end(data, at, end) if is_beyond[row] else end
                copy_bytes(out, written, data, at, stop - at)
                written += stop - at
                at = stop
                continue
            point, at = _decode(data, at, end)
            entry = np.uint64(rows[point >> np.uint64(8)] << 8) + (point & np.uint64(255))
            first, stop = np.uint64(starts[entry]), np.uint64(starts[entry + np.uint64(1)])
            if (
                first < stop
                and pool[first] == 0x1F
                and written > ends[row]
                and out[written - np.uint64(1)] == 0x1F
            ):
                first += np.uint64(1)
                written -= np.uint64(1)
            for place in range(first, stop):
                out[written] = pool[place]
                written += np.uint64(1)
        ends[row + 1] = written
    return out[: ends[-1]], ends
