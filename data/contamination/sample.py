"""A sample of documents chosen by their ids: the same documents whatever the shards and their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.kernels import kernel


def is_chosen(ids: TextBatch, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each document is in the sample.

    Args:
        ids: The documents' ids.
        share: Share of all documents, 1.0 for all.
        seed: Chooses the sample.

    Returns:
        bool [documents].
    """
    hashes = _hashes(ids.data, ids.offsets, np.uint64(seed % 2**64))
    return np.asarray((hashes >> np.uint64(11)) < np.uint64(min(share, 1.0) * 2**53))


@kernel
def _hashes(data: Any, offsets: Any, seed: Any) -> Any:
    out = np.empty(offsets.size - 1, np.uint64)
    for row in range(offsets.size - 1):
        value = np.uint64(0xCBF29CE484222325) ^ (seed * np.uint64(0x9E3779B97F4A7C15))
        for at in range(offsets[row], offsets[row + 1]):
            value = (value ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[row] = value ^ (value >> np.uint64(31))
    return out
