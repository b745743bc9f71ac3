"""The first passes of ``dedup`` on one shard or one partition, and the ``signatures`` artifact.

They leave their results in the stage's work folder, as flat files that the next pass reads.

A ``signatures`` artifact has ``parameters.json``, a ``part-*.parquet`` per shard (``doc_id``, ``uri``, ``form``,
``url``, ``keys``, ``sketch``), and ``survivors.parquet``, which names the survivor of each dropped document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.components.contract import Artifact, ComponentError
from millrace.data.dedup import addresses, forms, meetings, signatures
from millrace.data.dedup import signatures as minhash
from millrace.data.documents import catalogue, shuffle
from millrace.data.documents.shards import read_shard, shard_name, shard_paths, write_shard
from millrace.data.text.batch import from_arrow

from .config import DedupConfig
from .corpus import Clusters, Corpus, Earlier, Part, Shard

BUCKETS = 4096
PART_RECORDS = 1 << 21  # some 100 MB with what is made of them
LEAST_PARTS = 2
_MATCHING = ("minhash", "shingle_words", "bands", "rows", "url")


def write_parameters(config: DedupConfig, folder: str) -> None:
    """Says in a ``signatures`` artifact how its signatures were made."""
    parameters = {"format": 1, **{name: getattr(config, name) for name in _MATCHING}}
    (Path(folder) / "parameters.json").write_text(json.dumps(parameters, indent=1) + "\n")


def earlier_tasks(config: DedupConfig, against: Mapping[str, Artifact], first: int) -> list[Earlier]:
    """The shards of the earlier corpora, numbered on from ``first``.

    Raises:
        ComponentError: Signatures were made another way.
    """
    found: list[Earlier] = []
    for label, artifact in against.items():
        made = json.loads((artifact.path / "parameters.json").read_bytes())
        for name in _MATCHING:
            wanted = getattr(config, name)
            # An earlier corpus may have more.
            if made[name] != wanted and not (isinstance(wanted, bool) and made[name]):
                raise ComponentError(
                    f"got signatures of {artifact.stage} (against.{label}) made with {name}: {made[name]}, expected "
                    f"{name}: {wanted} as in this stage: use the same value in both"
                )
        for path in shard_paths(artifact.path):
            found.append((first + len(found), str(path), label))
    return found


def sign(config: DedupConfig, work: str, signatures: str, task: Shard | Earlier) -> list[str]:
    """Writes the data of one shard that the later passes need; returns the sources that it has, in the order of their
    codes.
    """
    if len(task) == 3:
        return _take_earlier(config, Path(work), task)
    index, path = task
    columns = ["doc_id", "text", "source", "uri"]
    if config.value_field or config.url_field:
        columns.append("metadata")
    table = read_shard(path, columns)
    batch = from_arrow(table["text"])
    count = len(batch)
    seen = forms.look(batch)
    digests = forms.digests(batch, seen)
    urls = np.zeros(count, np.uint64)
    if config.url:
        urls = addresses.hashes(_texts(table, config.url_field) if config.url_field else table["uri"])
    keys = np.zeros((count, 0), np.uint64)
    sketches, shingles = np.zeros((count, 0), np.uint8), np.zeros(count, np.int64)
    if config.minhash:
        keys, sketches, shingles = minhash.sign(batch, config.shingle_words, config.bands, config.rows, seen)
    encoded = table["source"].combine_chunks().dictionary_encode()
    _leave(
        Path(work),
        index,
        (table["doc_id"], table["uri"]),
        keys,
        digests=digests,
        urls=urls,
        sketches=sketches,
        shingles=shingles,
        sizes=np.diff(batch.offsets),
        values=_values(table, config),
        sources=np.asarray(encoded.indices),
    )
    made = {"doc_id": table["doc_id"], "uri": table["uri"], "form": _binary(digests), "url": pa.array(urls)}
    if config.minhash:
        made |= {"has_words": pa.array(shingles > 0), "keys": _binary(keys), "sketch": _binary(sketches)}
    write_shard(Path(signatures) / Path(path).name, pa.table(made))
    return list(encoded.dictionary.to_pylist())


def _take_earlier(config: DedupConfig, work: Path, task: Earlier) -> list[str]:
    """Writes the same for a shard of an earlier corpus, which has signatures only."""
    index, path, _ = task
    table = read_shard(path)
    count = table.num_rows
    doc_ids, uris = table["doc_id"].to_pylist(), table["uri"].to_pylist()
    replaced = pq.read_table(
        Path(path).parent / "survivors.parquet", filters=[("shard", "=", Path(path).name)]
    )
    for row, doc_id, uri in zip(
        replaced["row"].to_pylist(), replaced["doc_id"].to_pylist(), replaced["uri"].to_pylist(), strict=True
    ):
        doc_ids[row], uris[row] = doc_id, uri
    keys, sketches, shingles = (
        np.zeros((count, 0), np.uint64),
        np.zeros((count, 0), np.uint8),
        np.zeros(count),
    )
    if config.minhash:
        keys = _numbers(table["keys"], np.uint64)
        sketches = _numbers(table["sketch"], np.uint8)
        shingles = np.asarray(table["has_words"]).astype(np.int64)
    _leave(
        work,
        index,
        (pa.chunked_array([pa.array(doc_ids, pa.string())]), pa.chunked_array([pa.array(uris, pa.string())])),
        keys,
        digests=_numbers(table["form"], np.uint64),
        urls=np.asarray(table["url"]) if config.url else np.zeros(count, np.uint64),
        sketches=sketches,
        shingles=shingles.astype(np.int64),
        sizes=np.zeros(count, np.int64),
        values=np.full(count, np.nan),
        sources=np.zeros(count, np.int32),
    )
    return []


def _leave(work: Path, index: int, names: tuple[Any, Any], keys: np.ndarray, **arrays: Any) -> None:
    catalogue.write_names(work / f"names-{index:05d}", *names)
    rows = np.flatnonzero(arrays["shingles"])
    banded = keys[rows].reshape(-1)
    owners = np.repeat(rows.astype(np.uint32), keys.shape[1])
    buckets = (banded & np.uint64(BUCKETS - 1)).astype(np.int64)
    shuffle.write(work / "bands", index, buckets, BUCKETS, (banded, owners))
    np.save(work / f"sketches-{index:05d}.npy", arrays.pop("sketches"))
    np.savez(work / f"signed-{index:05d}.npz", **arrays)


def _binary(values: np.ndarray) -> Any:
    """The rows of a matrix as an Arrow column of bytes."""
    width = values.shape[1] * values.itemsize
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(values), [None, data])


def _numbers(column: Any, dtype: Any) -> np.ndarray:
    """The matrix whose rows such a column holds."""
    array = column.combine_chunks()
    width = array.type.byte_width
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    return (
        data[array.offset * width : (array.offset + len(array)) * width].view(dtype).reshape(len(array), -1)
    )


def _texts(table: Any, field: str) -> Any:
    """The metadata's value of a key, empty where it is no text; an Arrow column."""
    found = (json.loads(one or "{}").get(field) for one in table["metadata"].to_pylist())
    return pa.chunked_array([pa.array([one if isinstance(one, str) else "" for one in found], pa.string())])


def _values(table: Any, config: DedupConfig) -> np.ndarray:
    """The number in the metadata that the survivor policy compares, NaN where there is none; float64."""
    if config.value_field is None:
        return np.full(table.num_rows, np.nan)
    found = (json.loads(one or "{}").get(config.value_field) for one in table["metadata"].to_pylist())
    read = _date if config.survivor == "earliest" else _number
    return np.array([read(one) for one in found], np.float64)


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else float("nan")
    except ValueError:
        return float("nan")


def _date(value: object) -> float:
    """Seconds since 1970."""
    if isinstance(value, str) and not value.strip().isdigit():
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return float("nan")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    number = _number(value)
    if 1 <= number <= 9999:  # a year, as Unix seconds would be the first three hours of 1970
        return datetime(int(number), 1, 1, tzinfo=UTC).timestamp()
    return number


def match(earlier: int, work: str, part: Part) -> None:
    """Writes the pairs of documents that share a band key of one partition."""
    index, first, end = part
    folder = Path(work)
    (keys, rows), runs = shuffle.read(folder / "bands", first, end, (np.uint64, np.uint32))
    bases = np.load(folder / "bases.npy")[:-1]
    places = np.repeat(bases, runs[:, -1] - runs[:, 0]) + rows
    nodes = np.load(folder / "senders.npy", mmap_mode="r")[places]
    sends = nodes >= 0
    met = meetings.meetings(keys[sends], nodes[sends], earlier)
    np.save(folder / f"firsts-{index:05d}.npy", met.firsts)
    np.save(folder / f"neighbours-{index:05d}.npy", met.neighbours)


def read_shingles(shingle_words: int, work: str, task: tuple[int, str, int]) -> None:
    """Writes the sets of shingles of those of a shard's documents that met others.

    Args:
        shingle_words: Words per shingle.
        work: The stage's work folder.
        task: The shard's number, where it is, and where its sets start in the file of all.
    """

    index, path, start = task
    folder = Path(work)
    rows = np.load(folder / f"met-{index:05d}.npy")
    sets = signatures.shingle_sets(from_arrow(read_shard(path, ["text"])["text"]), rows, shingle_words)
    with (folder / "shingles").open("r+b") as file:
        file.seek(8 * start)
        sets.shingles.tofile(file)
    np.savez(folder / f"sets-{index:05d}.npz", starts=sets.starts[:-1] + start, sizes=sets.sizes)


def write_survivors(corpus: Corpus, found: Clusters, work: Path, folder: str) -> None:
    """Says in the ``signatures`` artifact which documents stand for those that were dropped."""
    nodes = found.dropped
    places = corpus.places[nodes]
    order = np.argsort(places)
    nodes, places = nodes[order], places[order]
    shards = np.searchsorted(corpus.bases, places, "right") - 1
    names = catalogue.names(work / "names", corpus.places[found.survivor[nodes]])
    table = pa.table(
        {
            "shard": pa.array([shard_name(shard) for shard in shards.tolist()], pa.string()),
            "row": pa.array(places - corpus.bases[shards], pa.int64()),
            "doc_id": pa.array([doc_id for doc_id, _ in names], pa.string()),
            "uri": pa.array([uri for _, uri in names], pa.string()),
        }
    )
    write_shard(Path(folder) / "survivors.parquet", table)
