"""Similarities of candidate pairs: true ones from sets of shingles, estimates from sketches.

The sets lie in one memory-mapped file, never read whole; its pages are released after every chunk of pairs.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from millrace.components.contract import Context
from millrace.components.shards.map import map_shards
from millrace.data.dedup import similarity

from . import passes
from .config import DedupConfig
from .corpus import Corpus

PAIRS = 1 << 15  # 250 MB of sets, if all are different ones of 500 shingles
SKETCHES = 1 << 17


class Similarity:
    """Similarities of pairs of nodes that met."""

    def __init__(
        self,
        context: Context,
        config: DedupConfig,
        corpus: Corpus,
        work: Path,
        tasks: Sequence[passes.Shard],
        met: np.ndarray,
    ) -> None:
        """Reads the shards whose documents met others once more, if true similarities are wanted.

        Args:
            context: The running stage.
            config: Its configuration.
            corpus: All documents.
            work: Its work folder.
            tasks: The shards.
            met: Nodes whose similarities will be computed, sorted.
        """
        self._corpus, self._work, self._map = corpus, work, None
        self._verify = config.verify
        self._place = np.full(corpus.nodes.size if config.verify else 0, -1, np.int64)
        own = met[met >= corpus.earlier]
        if not config.verify or not own.size:
            return
        own = own[np.argsort(corpus.places[own])]
        self._place[own] = np.arange(own.size)
        ends = np.cumsum(corpus.shingles[own])
        bounds = np.searchsorted(corpus.places[own], corpus.bases[: len(tasks) + 1])
        wanted = []
        for (index, path), first, end in zip(tasks, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            if end > first:
                np.save(work / f"met-{index:05d}.npy", corpus.places[own[first:end]] - corpus.bases[index])
                wanted.append((index, path, int(ends[first] - corpus.shingles[own[first]])))
        with (work / "shingles").open("wb") as file:
            file.truncate(8 * int(ends[-1]))
        read = partial(passes.read_shingles, config.shingle_words, str(work))
        map_shards(context, wanted, read, "ReadShingles")
        made = [np.load(work / f"sets-{index:05d}.npz") for index, _, _ in wanted]
        self._starts = np.concatenate([one["starts"] for one in made])
        self._sizes = np.concatenate([one["sizes"] for one in made])
        with (work / "shingles").open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Lets go of the file."""
        if self._map is not None:
            self._map.close()

    def of(self, pairs: np.ndarray) -> np.ndarray:
        """Similarities of pairs of nodes, float64 [pairs]; true ones where both texts are there and it was wanted."""
        values = np.zeros(len(pairs))
        is_true = (pairs >= self._corpus.earlier).all(axis=1) & self._verify
        values[is_true] = self._true(pairs[is_true])
        values[~is_true] = self._estimates(pairs[~is_true])
        return values

    def _true(self, pairs: np.ndarray) -> np.ndarray:
        values = np.zeros(len(pairs))
        if self._map is None or not len(pairs):
            return values
        order = np.lexsort((self._place[pairs[:, 1]], self._place[pairs[:, 0]]))
        for first in range(0, len(pairs), PAIRS):
            chosen = order[first : first + PAIRS]
            shingles = np.frombuffer(self._map, np.uint64)
            values[chosen] = similarity.jaccard(
                shingles, self._starts, self._sizes, self._place[pairs[chosen]]
            )
            del shingles
            self._map.madvise(mmap.MADV_DONTNEED)
        return values

    def _estimates(self, pairs: np.ndarray) -> np.ndarray:
        values = np.zeros(len(pairs))
        for first in range(0, len(pairs), SKETCHES):
            chunk = pairs[first : first + SKETCHES]
            nodes, at = np.unique(chunk, return_inverse=True)
            sketches = self._sketches(nodes)
            at = at.reshape(chunk.shape)
            values[first : first + SKETCHES] = similarity.estimate(sketches[at[:, 0]], sketches[at[:, 1]])
        return values

    def _sketches(self, nodes: np.ndarray) -> np.ndarray:
        """The sketches of some nodes, uint8 [nodes, functions]."""
        places = self._corpus.places[nodes]
        shards = np.searchsorted(self._corpus.bases, places, "right") - 1
        found = None
        for shard in np.unique(shards).tolist():
            own = np.flatnonzero(shards == shard)
            sketches = np.load(self._work / f"sketches-{shard:05d}.npy", mmap_mode="r")
            if found is None:
                found = np.empty((nodes.size, sketches.shape[1]), np.uint8)
            found[own] = sketches[places[own] - self._corpus.bases[shard]]
        assert found is not None  # there is at least one pair
        return found
