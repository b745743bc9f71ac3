"""Turns documents into token streams: per source one array of ids with document offsets.

Shards of documents are encoded side by side by compiled code that gives SentencePiece's ids
(``data.tokenizer.encoder``). Each shard's ids go to the stage's work folder first, because the length of a stream is
known only when all are there; then they are copied once into shards of fixed size.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.shards import map as shards
from millrace.data.documents import shards as documents
from millrace.data.documents.shards import read_shard
from millrace.data.tokenizer.encoder import shared_encoder
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training import streams as token_stream

from .config import TokenizeConfig

BATCH_BYTES = 16_000_000  # of text; an id for every byte is the room that a batch needs


def run(context: Context, config: TokenizeConfig, inputs: Inputs) -> None:
    """Encodes all shards, then writes each source's stream."""
    tokenizer_folder = inputs.one("tokenizer").path
    vocab_size = Tokenizer.load(tokenizer_folder).vocab_size
    paths = documents.shard_paths(inputs.one("documents").path)
    work = context.work / "encoded"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    tasks = [(str(path), str(work / f"{index:05d}")) for index, path in enumerate(paths)]
    counts = shards.map_shards(
        context, tasks, partial(_encode_shard, str(tokenizer_folder), config.threads), "EncodeDocuments"
    )
    sources = sorted({source for count in counts for source in count})
    if not sources:
        raise ComponentError("got no documents, expected text to encode: check the stage before this")
    output = context.output("tokens")
    entries = {}
    for source in sources:
        parts = [
            Path(prefix) / str(list(count).index(source))
            for (_, prefix), count in zip(tasks, counts, strict=True)
            if source in count
        ]
        table = pa.concat_tables([pq.read_table(f"{part}.parquet") for part in parts])
        lengths = table["length"].to_numpy()
        spans = table.append_column("start", pa.array(np.cumsum(lengths) - lengths)).select(
            token_stream.SPANS.names
        )
        ids: Iterator[Any] = (np.load(f"{part}.npy", mmap_mode="r") for part in parts)
        entries[source] = token_stream.write_source(output, source, ids, spans, vocab_size)
    token_stream.write_index(output, vocab_size, entries)
    shutil.rmtree(work)

    totals = {source: sum(count.get(source, 0) for count in counts) for source in sources}
    tokens = sum(entry["tokens"] for entry in entries.values())
    for source, entry in entries.items():
        context.metric(f"tokens_out.{source}", entry["tokens"])
    context.metric("documents_in", sum(entry["documents"] for entry in entries.values()))
    context.metric("bytes_in", sum(totals.values()))
    context.metric("tokens_out", tokens)
    context.metric("bytes_per_token", sum(totals.values()) / tokens)
    if tokens < config.min_tokens:
        raise ComponentError(f"got {tokens} tokens, expected at least min_tokens = {config.min_tokens}")


def _encode_shard(tokenizer_folder: str, threads: int, task: tuple[str, str]) -> dict[str, int]:
    """Encodes one shard into ``<prefix>/<source number>.npy`` and ``.parquet``; returns source -> bytes of text."""
    path, prefix = task
    shutil.rmtree(prefix, ignore_errors=True)
    Path(prefix).mkdir()
    encoder = shared_encoder(tokenizer_folder)
    table = read_shard(path, ["doc_id", "source", "text"])
    sizes: dict[str, int] = {}
    for number, source in enumerate(sorted(pc.unique(table["source"]).to_pylist())):
        own = table.filter(pc.equal(table["source"], source))
        size_bytes = pc.binary_length(own["text"]).to_numpy()
        sizes[source] = int(size_bytes.sum())
        batches = np.flatnonzero(np.diff(np.cumsum(size_bytes) // BATCH_BYTES, prepend=-1))
        encoded = [
            encoder.encode(own["text"].slice(first, end - first), threads)
            for first, end in zip(batches, [*batches[1:], own.num_rows], strict=True)
        ]
        np.save(f"{prefix}/{number}.npy", np.concatenate([ids for ids, _ in encoded]))
        lengths = pa.array(np.concatenate([lengths for _, lengths in encoded]))
        pq.write_table(pa.table({"doc_id": own["doc_id"], "length": lengths}), f"{prefix}/{number}.parquet")
    return sizes
