"""A batch of texts as the filters' kernels see it: one array of UTF-8 bytes and one of offsets.

These are the two buffers of Arrow's large_string column, taken without a copy. Kernels over them release the GIL, so
shards are filtered on all cores by threads, and no Python string is made for a document that is only measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit


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


@njit(cache=True, nogil=True, inline="always")
def is_space(byte: int) -> bool:
    """Whether a byte is ASCII white space; the rarer Unicode spaces count as parts of words."""
    return byte == 32 or 9 <= byte <= 13


@njit(cache=True, nogil=True, inline="always")
def starts_character(byte: int) -> bool:
    """Whether a byte is the first of a character in UTF-8."""
    return byte & 0xC0 != 0x80


@njit(cache=True, nogil=True, inline="always")
def is_letter(byte: int) -> bool:
    """Whether a byte is an ASCII letter or the start of any other character, which all count as letters."""
    return 97 <= (byte | 32) <= 122 or byte >= 0xC0


@njit(cache=True, nogil=True, inline="always")
def is_digit(byte: int) -> bool:
    """Whether a byte is an ASCII digit."""
    return 48 <= byte <= 57
