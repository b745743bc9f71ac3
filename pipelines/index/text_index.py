"""The shards of an artifact that may contain a text: bits of all blocks of documents, one hash value after the other.

One bit for each byte of text, so an eighth of its size: far less than a full-text index, and enough to leave a handful
of a thousand shards to search. Shards that pass are searched, so an answer is exact. Looking up a gram reads the bits
of one hash value, which stand together for 4,096 blocks (a quarter of a GB of text): half a kilobyte.

    <store>/index/<digest>.text/manifest.json with notes {"version", "files", "widths"}
                                shards.npy   int32 [columns], the file of each column, which is eight blocks
                                bits         per segment uint8 [BLOCK_BITS, width]

Made for artifacts of many shards only: a smaller corpus is searched faster than its index is made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from millrace.pipelines.store.store import Store

from . import folders

VERSION = 2
LEAST_SHARDS = 64  # shards of 12 MB; with fewer, searching everything takes about a second
SEGMENT_COLUMNS = 512
GRAMS_ASKED = 256


def candidates(store: Store, digest: str, files: Sequence[str], text: str) -> list[str]:
    """The shards that may contain a text; all of them when the text has nothing to look up.

    Args:
        store: The store.
        digest: A documents artifact.
        files: Its shards, in order.
        text: What is looked for; white space in it stands for any white space.
    """
    import numpy as np

    from millrace.data.documents.text_grams import BLOCK_BITS, grams_of

    grams = grams_of(text)[:GRAMS_ASKED]
    folder = prepare(store, digest, files) if grams else None
    if folder is None:
        return list(files)
    shards = np.load(folder / "shards.npy")
    found: list[int] = []
    start = 0
    for width in folders.notes(store, folder)["widths"]:
        shape = (BLOCK_BITS, width)
        bits = np.memmap(folder / "bits", np.uint8, "r", start * BLOCK_BITS, shape)
        has_all = np.bitwise_and.reduce([bits[gram] for gram in grams], axis=0)
        found += shards[start + np.flatnonzero(has_all)].tolist()
        start += width
    return [files[number] for number in sorted(set(found))]


def prepare(store: Store, digest: str, files: Sequence[str]) -> Path | None:
    """The folder of an artifact's index, which is made when it is missing, incomplete or of another version.

    Returns:
        None where an index does not pay: for few shards, or when it cannot be written.
    """
    folder = folders.index_folder(store) / f"{digest}.text"
    if len(files) < LEAST_SHARDS or folder.parent.parent != store.scratch:
        return None
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = folders.notes(store, folder)
        if (found["version"], found["files"]) == (VERSION, list(files)):
            return folder
    told: dict[str, Any] = {"version": VERSION, "files": list(files)}
    with folders.made_anew(store, folder, told) as made:
        told["widths"] = _build(store, digest, files, made)
    return folder


def _build(store: Store, digest: str, files: Sequence[str], folder: Path) -> list[int]:
    """Writes the bits of all shards and returns the columns of each segment."""
    import numpy as np

    shards: list[int] = []
    widths: list[int] = []
    pending: list[Any] = []
    with (folder / "bits").open("wb") as out:

        def write(count: int) -> None:
            columns = np.concatenate(pending)
            out.write(np.ascontiguousarray(columns[:count].T).data)
            widths.append(count)
            pending[:] = [columns[count:]]

        for number, columns in enumerate(_columns(store, digest, files)):
            shards += [number] * len(columns)
            pending.append(columns)
            while sum(map(len, pending)) >= SEGMENT_COLUMNS:
                write(SEGMENT_COLUMNS)
        if rest := sum(map(len, pending)):
            write(rest)
        out.flush()
        os.fsync(out.fileno())
    np.save(folder / "shards.npy", np.array(shards, np.int32))
    return widths


def _columns(store: Store, digest: str, files: Sequence[str]) -> Iterator[Any]:
    """The bits of each shard's blocks, eight blocks to a byte: uint8 [columns, BLOCK_BITS]."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from millrace.data.documents.text_gram_kernel import block_bits
    from millrace.data.documents.text_grams import BLOCK_BITS

    def look(name: str) -> Any:
        with store.open_file(digest, name) as handle:
            column = pq.read_table(handle, columns=["text"], use_threads=False, pre_buffer=False)["text"]
        texts = column.combine_chunks().cast(pa.large_string())
        if not len(texts):
            return np.zeros((0, BLOCK_BITS), np.uint8)
        _, offsets, data = texts.buffers()
        starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        return block_bits(np.frombuffer(data or b"", np.uint8), starts)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(look, files)
