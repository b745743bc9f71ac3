"""Token streams on disk: per source one long array of ids, cut into memory-mapped shards, with a table of documents.

A document is its tokens followed by one boundary token, so documents and stream share one arithmetic: document d is
tokens ``[start, start + length)`` of its source, boundary included. Reading never copies more than the span asked
for, whatever the size of the corpus. Shards have a fixed number of tokens, so the files do not depend on how the
documents were sharded.

    index.json                      {"dtype", "vocab_size", "sources": {name: {"tokens", "documents", "shards"}}}
    <source>/tokens-00000.npy ...   uint16 when the vocabulary has at most 65,536 ids, else uint32
    <source>/documents.parquet      doc_id string, start int64, length int64, in the order of the stream
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

INDEX_FILE = "index.json"
DOCUMENTS_FILE = "documents.parquet"
SHARD_TOKENS = 2**26
SPANS = pa.schema([("doc_id", pa.string()), ("start", pa.int64()), ("length", pa.int64())])

Tokens = npt.NDArray[Any]


class Span(NamedTuple):
    """Where a document lies in its source's stream; ``length`` counts the boundary token."""

    doc_id: str
    start: int
    length: int


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrowest type that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


class Stream:
    """One source's tokens: a read-only sequence over its shards."""

    def __init__(self, shards: Sequence[Tokens]) -> None:
        self._shards = list(shards)
        self._starts = np.cumsum([0, *(shard.size for shard in shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, length: int) -> Tokens:
        """Tokens ``[start, start + length)``: a view of the file, or a copy where they cross shards.

        Raises:
            IndexError: The span is not inside the stream.
        """
        end = start + length
        if start < 0 or length < 0 or end > len(self):
            raise IndexError(f"got tokens [{start}, {end}), expected a span inside [0, {len(self)})")
        low = min(int(np.searchsorted(self._starts[1:], start, side="right")), len(self._shards) - 1)
        high = max(int(np.searchsorted(self._starts[:-1], end, side="left")), low + 1)
        parts = [
            self._shards[index][max(start - first, 0) : end - first]
            for index, first in zip(range(low, high), self._starts[low:high].tolist(), strict=True)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class TokenStreams:
    """A ``tokens`` artifact.

    Attributes:
        sources: Names of its sources, sorted.
        source_tokens: Source -> tokens, what a ``Mixture`` is planned with.
        vocab_size: Ids are below it.
    """

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self._folder = folder
        self._index = index["sources"]
        self.sources: tuple[str, ...] = tuple(sorted(self._index))
        self.source_tokens: dict[str, int] = {name: self._index[name]["tokens"] for name in self.sources}
        self.vocab_size: int = index["vocab_size"]
        self._streams: dict[str, Stream] = {}
        self._tables: dict[str, pa.Table] = {}
        self._starts: dict[str, npt.NDArray[np.int64]] = {}

    @classmethod
    def load(cls, folder: Path) -> TokenStreams:
        """Opens an artifact; files are mapped when first read."""
        return cls(folder, json.loads((folder / INDEX_FILE).read_text(encoding="utf-8")))

    def tokens(self, source: str) -> Stream:
        """A source's stream.

        Raises:
            KeyError: There is no such source.
        """
        if source not in self._streams:
            shards = [np.load(self._folder / name, mmap_mode="r") for name in self._index[source]["shards"]]
            self._streams[source] = Stream(shards)
        return self._streams[source]

    def read(self, source: str, start: int, length: int) -> Tokens:
        """Tokens ``[start, start + length)`` of a source."""
        return self.tokens(source).read(start, length)

    def documents(self, source: str) -> pa.Table:
        """A source's documents in the order of its stream: ``doc_id``, ``start``, ``length``."""
        if source not in self._tables:
            path = self._folder / source / DOCUMENTS_FILE
            self._tables[source] = pq.read_table(path)
            self._starts[source] = self._tables[source]["start"].to_numpy()
        return self._tables[source]

    def starts(self, source: str) -> npt.NDArray[np.int64]:
        """Where each of a source's documents begins in its stream, rising."""
        self.documents(source)
        return self._starts[source]

    def documents_in(self, source: str, start: int, length: int) -> list[Span]:
        """The documents that have a token in ``[start, start + length)``, in order."""
        table = self.documents(source)
        if length <= 0:
            return []
        starts = self._starts[source]
        low = max(int(np.searchsorted(starts, start, side="right")) - 1, 0)
        high = int(np.searchsorted(starts, start + length, side="left"))
        return [
            Span(**row)
            for row in table.slice(low, high - low).to_pylist()
            if row["start"] + row["length"] > start
        ]

    def span_of(self, doc_id: str) -> tuple[str, int, int] | None:
        """``(source, start, length)`` of a document, or None when no source holds it."""
        for source in self.sources:
            table = self.documents(source)
            row = pc.index(table["doc_id"], doc_id).as_py()
            if row >= 0:
                return source, table["start"][row].as_py(), table["length"][row].as_py()
        return None


def write_source(
    folder: Path,
    source: str,
    parts: Iterable[Tokens],
    spans: pa.Table,
    vocab_size: int,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Writes one source's stream and document table.

    Args:
        folder: The artifact's folder.
        source: The source's name; also its folder's.
        parts: Its tokens in order, in pieces of any size; one is held at a time.
        spans: Columns of ``SPANS``; lengths sum to the tokens.
        vocab_size: Chooses the type of the ids.
        shard_tokens: Tokens per file.

    Returns:
        The source's entry for ``index.json``.
    """
    (folder / source).mkdir(parents=True)
    tokens = pc.sum(spans["length"]).as_py() or 0
    dtype = token_dtype(vocab_size)
    shards = [f"{source}/tokens-{index:05d}.npy" for index in range(max(-(-tokens // shard_tokens), 1))]
    rest: Iterator[Tokens] = (part for part in parts if part.size)
    part: Tokens = np.empty(0, dtype)
    for index, shard in enumerate(shards):
        missing = min(shard_tokens, tokens - index * shard_tokens)
        # Written, not mapped: on a full disk a write raises an error where a mapped page kills the process.
        with (folder / shard).open("wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (missing,),
            }
            np.lib.format.write_array_header_1_0(file, header)
            while missing:
                if not part.size and (part := next(rest, part)).size == 0:
                    raise ValueError(
                        f"got {missing} tokens of {source} too few for the lengths of its documents"
                    )
                file.write(np.ascontiguousarray(part[:missing], dtype).data)
                part, missing = part[missing:], max(missing - part.size, 0)
    if part.size or any(extra.size for extra in rest):
        raise ValueError(f"got more tokens of {source} than the {tokens} of its documents")
    pq.write_table(
        spans.combine_chunks(),
        folder / source / DOCUMENTS_FILE,
        compression="zstd",
        compression_level=3,
        row_group_size=65_536,
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    return {"tokens": tokens, "documents": spans.num_rows, "shards": shards}


def write_index(folder: Path, vocab_size: int, sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes ``index.json`` of the sources that ``write_source`` wrote."""
    index = {"dtype": token_dtype(vocab_size).name, "vocab_size": vocab_size, "sources": sources}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
