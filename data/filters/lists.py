"""Reads a user's lists of words, domains or substrings, and makes tables of hashes for kernels.

A list file has one entry a line; empty lines and lines that start with ``#`` are ignored. Lists of millions of entries
exist (domains of adult sites), so kernels look hashes up in an open-addressing table of 16 bytes an entry, made once a
process; two different strings share a 64-bit hash with probability 2**-64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.data.text.kernels import kernel


def read_list(path: str | Path) -> tuple[str, ...]:
    """The entries of a list file, in its order.

    Args:
        path: A UTF-8 text file.

    Raises:
        ValueError: It is not there, is not UTF-8, or has no entry.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"got {path} ({error}), expected a UTF-8 file with one entry a line") from None
    lines = (line.strip() for line in text.splitlines())
    entries = tuple(line for line in lines if line and not line.startswith("#"))
    if not entries:
        raise ValueError(f"got {path} without an entry, expected one entry a line")
    return entries


def with_file(entries: Sequence[str], path: str | None) -> tuple[str, ...]:
    """Some entries, then those of a list file if one is named; raises as ``read_list`` does."""
    return (*entries, *(read_list(path) if path is not None else ()))


def hash_table(hashes: Sequence[int] | npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """An open-addressing table of hashes with linear probing, half full at most; 0 marks a free place.

    A kernel looks a hash up from place ``hash & (size - 1)`` on, until it meets the hash or a 0; a hash of 0 counts
    as 1.

    Returns:
        uint64 [a power of two, at least 2].
    """
    wanted = np.unique(np.maximum(np.asarray(hashes, np.uint64), np.uint64(1)))
    table = np.zeros(2 << int(wanted.size).bit_length(), np.uint64)
    _insert(wanted, table)
    return table


@kernel
def _insert(wanted: Any, table: Any) -> None:
    mask = np.uint64(table.size - 1)
    for index in range(wanted.size):
        at = wanted[index] & mask
        while table[at] != 0:
            at = (at + np.uint64(1)) & mask
        table[at] = wanted[index]
