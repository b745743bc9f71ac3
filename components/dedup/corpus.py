"""The documents that are compared, and the clusters that were found, as arrays by document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Shard = tuple[int, str]
Earlier = tuple[int, str, str]
"""A shard of an earlier corpus: its number among all, where it is, and the label of its corpus."""
Part = tuple[int, int, int]
"""Some buckets of the shuffle: the partition's number, first and last (exclusive) bucket."""


@dataclass(frozen=True)
class Corpus:
    """The data that the stage holds for every document.

    Attributes:
        earlier: Documents of earlier corpora: nodes below this number.
        bases: Place of the first document of each shard, and the end of the last, int64 [shards + 1].
        labels: The label of each earlier shard's corpus, by shard; empty for this corpus.
        nodes: Node by place, int64 [documents].
        places: Place by node.
        representative: By node: the node that compares for all of the same normal form, of this corpus if there is one.
        urls: By node: hash of the URL, 0 without one; uint64.
        preference: By node: of a cluster the lowest survives.
        sources: By node: code of the source, int32.
        source_names: The sources' names, by code.
        shingles: By node: shingles of the text, repeated ones counted again.
    """

    earlier: int
    bases: np.ndarray
    labels: tuple[str, ...]
    nodes: np.ndarray
    places: np.ndarray
    representative: np.ndarray
    urls: np.ndarray
    preference: np.ndarray
    sources: np.ndarray
    source_names: tuple[str, ...]
    shingles: np.ndarray

    @property
    def documents(self) -> int:
        """Documents of this corpus."""
        return int(self.nodes.size) - self.earlier

    def label(self, node: int) -> str:
        """The label of the earlier corpus that a node is of; empty for this corpus."""
        return self.labels[int(np.searchsorted(self.bases, self.places[node], "right")) - 1]


@dataclass(frozen=True)
class Clusters:
    """The clusters found; all by node unless said otherwise.

    Attributes:
        labels: The cluster's lowest node.
        sizes: Documents of this corpus in the cluster.
        survivor: The node that stands for the document.
        dropped: Nodes of this corpus that go, int64 [dropped].
        similarity: Of each of ``dropped`` to its survivor, float64; NaN for those that only share a URL.
        is_text: Whether each of ``dropped`` is in its cluster by its text.
        via: Of each of ``dropped``, the node most similar to it where the survivor is below the threshold, or -1.
        via_similarity: Similarity to that one.
        pairs_met: Pairs that were compared.
        pairs_similar: Pairs that were similar enough.
    """

    labels: np.ndarray
    sizes: np.ndarray
    survivor: np.ndarray
    dropped: np.ndarray
    similarity: np.ndarray
    is_text: np.ndarray
    via: np.ndarray
    via_similarity: np.ndarray
    pairs_met: int
    pairs_similar: int
