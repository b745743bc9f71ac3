"""A batch of texts as the filters' kernels see it: one array of UTF-8 bytes and one of offsets.

These are the two buffers of Arrow's large_string column, taken without a copy. Kernels over them release the GIL, so
shards are filtered on all cores by threads, and no Python string is made for a document that is only measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .hashing import FNV_OFFSET, fnv
from .kernels import kernel


class TextBatch(NamedTuple):
    """Texts of one batch.

    Attributes:
        data: UTF-8 bytes of all texts, uint8 [bytes].
        offsets: Where each text starts and the last one ends, int64 [documents + 1].
    """

    data: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1


def from_arrow(column: Any) -> TextBatch:
    """The batch of an array or chunked array of strings without nulls; of large_string without a copy."""
    column = column.cast(pa.large_string())  # Parquet gives string; this widens its offsets only
    if isinstance(column, pa.ChunkedArray):
        chunks = column.chunks or [pa.array([], pa.large_string())]
        column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
    if column.null_count:
        raise ValueError(f"got {column.null_count} nulls, expected texts")
    _, offsets, data = column.buffers()
    rows = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return TextBatch(np.frombuffer(data or b"", np.uint8), rows)


def from_texts(texts: Sequence[str]) -> TextBatch:
    """The batch of some strings."""
    if not texts:
        return TextBatch(np.zeros(0, np.uint8), np.zeros(1, np.int64))
    return from_arrow(pa.array(texts, pa.large_string()))


def replaced(batch: TextBatch, texts: Mapping[int, bytes]) -> TextBatch:
    """The batch with some rows' bytes exchanged.

    Args:
        batch: The texts.
        texts: Row -> its new bytes of UTF-8.
    """
    if not texts:
        return batch
    lengths = np.diff(batch.offsets)
    parts = []
    done = 0
    for row, text in sorted(texts.items()):
        parts += [batch.data[batch.offsets[done] : batch.offsets[row]], np.frombuffer(text, np.uint8)]
        lengths[row] = len(text)
        done = row + 1
    parts.append(batch.data[batch.offsets[done] : batch.offsets[-1]])
    return TextBatch(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]))


def to_arrow(batch: TextBatch) -> pa.Array:
    """The large_string array of a batch, without a copy."""
    offsets = np.ascontiguousarray(batch.offsets, np.int64)
    return pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(offsets), pa.py_buffer(batch.data))


def hashes(batch: TextBatch, start: np.uint64 = FNV_OFFSET) -> npt.NDArray[np.uint64]:
    """FNV-1a of each text's bytes, uint64 [documents]; ``hashing.mix`` spreads it over all bits.

    Args:
        batch: The texts.
        start: The hash of an empty text; other hashes for another.
    """
    found: npt.NDArray[np.uint64] = _hashes(batch.data, batch.offsets, start)
    return found


@kernel
def _hashes(data: Any, offsets: Any, start: Any) -> Any:
    out = np.empty(offsets.size - 1, np.uint64)
    for row in range(offsets.size - 1):
        value = start
        for at in range(offsets[row], offsets[row + 1]):
            value = fnv(value, data[at])
        out[row] = value
    return out


class Edited(NamedTuple):
    """The result of an editing rule on a batch.

    Attributes:
        batch: The texts as they go on.
        counts: Kind of edit ("email") -> count, int64 [documents] each.
    """

    batch: TextBatch
    counts: dict[str, np.ndarray]


class ByteTables(NamedTuple):
    """Classes of bytes of UTF-8, each bool [256]: kernels take the tables as an argument.

    Functions or constants of this file would be compiled into the kernels of others, whose cached machine code would
    outlive a change here.

    Attributes:
        space: ASCII white space; the rarer Unicode spaces count as parts of words.
        starts: The first byte of a character.
        letter: An ASCII letter, or the first byte of any character outside ASCII: all those count as letters.
        digit: An ASCII digit.
    """

    space: np.ndarray
    starts: np.ndarray
    letter: np.ndarray
    digit: np.ndarray


_BYTES = np.arange(256)
BYTE_TABLES = ByteTables(
    space=(_BYTES == 32) | ((_BYTES >= 9) & (_BYTES <= 13)),
    starts=(_BYTES & 0xC0) != 0x80,
    letter=((_BYTES | 32) >= 97) & ((_BYTES | 32) <= 122) & (_BYTES < 128) | (_BYTES >= 0xC0),
    digit=(_BYTES >= 48) & (_BYTES <= 57),
)
