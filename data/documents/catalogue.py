"""Looks up, by number over all shards, the document of a unit and the origin of a document.

Shards write their parts; joined, they are flat files that are read in place, so that a look-up costs a page and not the
corpus's memory: 8 bytes a document for units, some 100 for ids and addresses.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.dedup.units import Integers
from millrace.data.text.batch import from_arrow


def write_offsets(path: Path, offsets: Integers) -> None:
    """Writes one shard's offsets, int64 [rows + 1], which start at 0."""
    np.ascontiguousarray(offsets, np.int64).tofile(path)


def join_offsets(parts: Sequence[Path], joined: Path) -> Integers:
    """Joins shards' offsets into those of the corpus and removes the parts.

    Returns:
        Where each shard starts, and the end of the last, int64 [shards + 1].
    """
    bases = [0]
    with joined.open("wb") as file:
        np.zeros(1, np.int64).tofile(file)
        for part in parts:
            offsets = np.fromfile(part, np.int64)
            (offsets[1:] + bases[-1]).tofile(file)
            bases.append(bases[-1] + int(offsets[-1]))
            part.unlink()
    return np.array(bases)


def offsets(joined: Path) -> npt.NDArray[np.int64]:
    """The corpus's offsets, read in place, int64 [rows + 1]."""
    return np.memmap(joined, np.int64, "r")


def write_names(path: Path, doc_ids: Any, uris: Any) -> None:
    """Writes the ids and addresses of one shard's documents, given as Arrow string columns."""
    names = from_arrow(pc.binary_join_element_wise(doc_ids, uris, "\n"))
    names.data[names.offsets[0] : names.offsets[-1]].tofile(path)
    write_offsets(path.with_suffix(".offsets"), names.offsets - names.offsets[0])


def join_names(parts: Sequence[Path], joined: Path) -> Integers:
    """Joins what shards wrote with ``write_names`` and removes the parts.

    Returns:
        The number of the first document of each shard, and of all documents; int64 [shards + 1].
    """
    counts = [part.with_suffix(".offsets").stat().st_size // 8 - 1 for part in parts]
    join_offsets([part.with_suffix(".offsets") for part in parts], joined.with_suffix(".offsets"))
    with joined.open("wb") as file:
        for part in parts:
            with part.open("rb") as data:
                shutil.copyfileobj(data, file)
            part.unlink()
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def names(joined: Path, rows: Integers) -> list[tuple[str, str]]:
    """Id and address of some documents by their number in the corpus."""
    if not rows.size:
        return []  # without documents there is nothing to map
    at = pa.memory_map(str(joined.with_suffix(".offsets"))).read_buffer()
    found = pa.LargeStringArray.from_buffers(at.size // 8 - 1, at, pa.memory_map(str(joined)).read_buffer())
    return [
        (name[:split], name[split + 1 :])
        for name in found.take(rows).to_pylist()
        for split in [name.find("\n")]
    ]
