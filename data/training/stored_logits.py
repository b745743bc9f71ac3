"""A teacher's distributions on disk, for every position that a training reads, in the order in which it reads them.

The sampler is a function of the step, so rows need no names: a step's arrays lie at the step's place. Shards hold whole
steps of one phase, whose batches have one shape, and are memory-mapped.

    index.json               {"made_for", "top_k", "shards": [{"first_step", "steps"}, ...], ...}
    log_probs-00000.npy ...  float16 [S, B, T, k+1], nats: of the k most probable tokens and, last, of all others together
    ids-00000.npy ...        [S, B, T, k], uint16 when the vocabulary has at most 65,536 ids, else uint32

float16 and not bfloat16: log-probabilities need no range beyond it, and it is eight times as exact. A float16 of a
log-probability near -1 is off by at most 0.0005, of one near -10 by 0.004; probabilities are normalised again when they
are read.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .streams import token_dtype

INDEX_FILE = "index.json"
LOG_PROBS_DTYPE = np.dtype(np.float16)

Array = npt.NDArray[Any]


def bytes_per_token(k: int, vocab_size: int) -> int:
    """Bytes of a position on disk."""
    return (k + 1) * LOG_PROBS_DTYPE.itemsize + k * token_dtype(vocab_size).itemsize


def shard_steps(ends: Sequence[int], step_tokens: Sequence[int], shard_tokens: int) -> list[tuple[int, int]]:
    """The shards' steps ``(first, end)``: at most ``shard_tokens`` positions, but a step at least, and of one phase.

    Args:
        ends: First step after each phase.
        step_tokens: Positions of a step in each phase.
        shard_tokens: Positions of a shard.
    """
    shards = []
    for start, end, tokens in zip([0, *ends[:-1]], ends, step_tokens, strict=True):
        width = max(shard_tokens // tokens, 1)
        shards += [(first, min(first + width, end)) for first in range(start, end, width)]
    return shards


def shard_names(number: int) -> tuple[str, str]:
    """The files of a shard: log-probabilities and ids."""
    return f"log_probs-{number:05d}.npy", f"ids-{number:05d}.npy"


def has_shard(folder: Path, number: int) -> bool:
    """Whether a shard is whole."""
    return (folder / shard_names(number)[1]).exists()


def write_shard(
    folder: Path, number: int, steps: int, parts: Iterable[tuple[Array, Array]], vocab_size: int
) -> None:
    """Writes a shard, whole or not at all: ids are put in place last, after both files are on disk.

    Args:
        folder: Where to.
        number: The shard's, from 0.
        steps: S.
        parts: For each step log-probabilities [B, T, k+1] and ids [B, T, k]; one step is held at a time.
        vocab_size: Chooses the type of the ids.
    """
    dtypes = LOG_PROBS_DTYPE, token_dtype(vocab_size)
    paths = [folder / name for name in shard_names(number)]
    asides = [path.with_name(f".{path.name}.tmp") for path in paths]
    with asides[0].open("wb") as log_probs, asides[1].open("wb") as ids:
        for step, part in enumerate(parts):
            for file, array, dtype in zip((log_probs, ids), part, dtypes, strict=True):
                if step == 0:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(dtype),
                        "fortran_order": False,
                        "shape": (steps, *array.shape),
                    }
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(array, dtype).data)
        for file in (log_probs, ids):
            file.flush()
            os.fsync(file.fileno())
    for aside, path in zip(asides, paths, strict=True):
        aside.rename(path)


def write_index(folder: Path, facts: Mapping[str, Any], shards: Sequence[tuple[int, int]]) -> None:
    """Writes ``index.json``: ``facts`` with ``made_for`` and ``top_k``, and the shards' steps."""
    index = {**facts, "shards": [{"first_step": first, "steps": end - first} for first, end in shards]}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")


class StoredLogits:
    """A ``teacher_logits`` artifact.

    Attributes:
        top_k: k.
        made_for: Everything that determines the order of reading and the numbers: name -> value.
    """

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self._folder = folder
        self.top_k: int = index["top_k"]
        self.made_for: dict[str, Any] = index["made_for"]
        self._firsts = [shard["first_step"] for shard in index["shards"]]
        self._open: tuple[int, Array, Array] | None = None

    @classmethod
    def load(cls, folder: Path) -> StoredLogits:
        """Opens an artifact; shards are mapped when first read."""
        return cls(folder, json.loads((folder / INDEX_FILE).read_text(encoding="utf-8")))

    def read(self, step: int) -> tuple[Array, Array]:
        """The teacher's distributions at a step's positions: log-probabilities float16 [B, T, k+1] and ids int32 [B, T,
        k].
        """
        number = bisect_right(self._firsts, step) - 1
        if self._open is None or self._open[0] != number:
            log_probs, ids = (
                np.load(self._folder / name, mmap_mode="r", allow_pickle=False)
                for name in shard_names(number)
            )
            self._open = number, log_probs, ids
        _, log_probs, ids = self._open
        at = step - self._firsts[number]
        return np.array(log_probs[at]), ids[at].astype(np.int32)
