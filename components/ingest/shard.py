"""The work on one part of a source: reads it, chooses which documents go on and where, writes shards and decisions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.components.contract import ComponentError
from millrace.components.shards.map import Tally, dump_tallies
from millrace.data.documents.decisions import Verdicts
from millrace.data.documents.shards import decisions_table, document_id, write_shard
from millrace.data.sources import records
from millrace.data.sources.bytes.chunks import Chunk, chunks, hash_fractions
from millrace.data.sources.records import Malformed, SourceError

from .source import Limits
from .sources import SOURCES

KINDS = ("documents", "documents", "decisions")  # of the three outputs, in order
EXAMPLES_OF_BAD = 3
DECISION_BYTES = 256


@dataclass(frozen=True)
class Task:
    """One part of one source, and where its shards go.

    Attributes:
        index: The part's place among all parts.
        source: The source's name.
        type: Its type.
        part: A part from the type's ``plan``.
        limits: The documents that go on; the numbers are those that are left for this part.
        folders: Of the three outputs.
        ids: Where to write the ids of what was read, for sources with ids of their own.
        repeated: Ids that come more than once, with the index of the task that has the first.
    """

    index: int
    source: str
    type: str
    part: Any
    limits: Limits
    folders: tuple[str, str, str]
    ids: str | None = None
    repeated: tuple[tuple[str, int], ...] = ()


class Shards:
    """Writes the rows of one task into shards of at most about ``PART_BYTES`` of text."""

    def __init__(self, folder: Path, task: int) -> None:
        self.folder, self.task = folder, task
        self.tables: list[Any] = []
        self.size_bytes = self.written = 0

    def add(self, table: Any, sizes: np.ndarray) -> None:
        """Adds rows of the given sizes in bytes, int64 [rows]."""
        ends = np.cumsum(sizes)
        first, before = 0, 0
        while first < len(sizes):
            room = records.PART_BYTES - self.size_bytes
            end = int(np.searchsorted(ends, before + room, "right"))
            if end <= first and self.tables:
                self.flush()
                continue
            end = max(end, first + 1)
            self.tables.append(table.slice(first, end - first))
            self.size_bytes += int(ends[end - 1]) - before
            first, before = end, int(ends[end - 1])

    def flush(self) -> None:
        """Writes what was added since the last shard."""
        if self.tables:
            path = self.folder / f"part-{self.task:06d}-{self.written:06d}.parquet"
            write_shard(path, pa.concat_tables(self.tables).combine_chunks())
            self.tables, self.size_bytes, self.written = [], 0, self.written + 1


def remove_shards(task: Task) -> None:
    """Removes what a task wrote."""
    for folder in task.folders:
        for path in Path(folder).glob(f"part-{task.index:06d}-*.parquet"):
            path.unlink()


def ingest_part(task: Task) -> dict[str, Any]:
    """Reads one part and writes its shards.

    Returns:
        JSON values: ``tallies``, ``bad`` (the first malformed records in words), ``held_out`` and ``sampled_out``
        (documents), ``documents`` and ``bytes`` (what went on or was held out), ``unread_bytes`` (of stretches with any number of records), ``is_cut`` (a
        limit was reached).

    Raises:
        ComponentError: The source cannot be read.
    """
    remove_shards(task)
    work = _Work(task)
    try:
        for chunk in chunks(SOURCES[task.type].read(task.part), task.source):
            if work.take(chunk):
                break
    except SourceError as error:
        raise ComponentError(f"source {task.source}: {error}") from None
    for writer in work.writers:
        writer.flush()
    if task.ids is not None:
        np.save(task.ids, np.concatenate(work.ids) if work.ids else np.zeros(0, "S32"))
    return {
        "tallies": dump_tallies({task.source: work.tally}),
        "bad": work.bad,
        "held_out": work.held_out,
        "sampled_out": work.sampled_out,
        "documents": work.documents,
        "bytes": work.bytes,
        "unread_bytes": work.unread_bytes,
        "is_cut": work.is_cut,
    }


class _Work:
    """The counts of one task so far."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tally = Tally()
        self.bad: list[str] = []
        self.held_out = self.sampled_out = self.documents = self.bytes = self.unread_bytes = 0
        self.is_cut = False
        self.writers = [Shards(Path(folder), task.index) for folder in task.folders]
        self.ids: list[np.ndarray] = []
        self.first = dict(task.repeated)

    def take(self, chunk: Chunk) -> bool:
        """Takes some records; returns whether a limit of the source is reached."""
        limits, table, sizes, held = self.task.limits, chunk.documents, chunk.sizes, chunk.is_held_out
        malformed = chunk.malformed
        if limits.sample_fraction < 1 and len(sizes):
            taken = hash_fractions(table["doc_id"].combine_chunks(), 8) < limits.sample_fraction
            self.sampled_out += int((~taken).sum())
            before = np.concatenate([[0], np.cumsum(taken)])
            malformed = [(int(before[place]), bad) for place, bad in malformed]
            table, sizes, held = table.filter(pa.array(taken)), sizes[taken], held[taken]
        if self.task.ids is not None and len(sizes):
            self.ids.append(np.array(table["doc_id"].to_pylist(), "S32"))
        if self.first:
            table, sizes, held, malformed = self._without_repeats(table, sizes, held, malformed)
        end = self._end(sizes)
        if end is not None:
            self.is_cut = True
            table, sizes, held = table.slice(0, end), sizes[:end], held[:end]
            malformed = [(place, bad) for place, bad in malformed if place <= end]
        if limits.held_out_fraction and len(sizes):
            held = held | (hash_fractions(table["doc_id"].combine_chunks(), 0) < limits.held_out_fraction)
        self._write(table, sizes, held, malformed)
        return self.is_cut

    def _end(self, sizes: np.ndarray) -> int | None:
        """How many documents the source's limits still allow, when that is not all."""
        limits, end = self.task.limits, len(sizes)
        if limits.max_documents is not None:
            end = min(end, limits.max_documents - self.documents)
        if limits.max_bytes is not None:
            end = min(end, int(np.searchsorted(np.cumsum(sizes), limits.max_bytes - self.bytes, "right")))
        return end if end < len(sizes) else None

    def _without_repeats(
        self, table: Any, sizes: np.ndarray, held: np.ndarray, malformed: Sequence[tuple[int, Malformed]]
    ) -> tuple[Any, np.ndarray, np.ndarray, list[tuple[int, Malformed]]]:
        """Takes out documents whose id came before; each becomes malformed."""
        taken = np.ones(len(sizes), bool)
        found = []
        for row, doc_id in enumerate(table["doc_id"].to_pylist()):
            owner = self.first.get(doc_id)
            if owner is None:
                continue
            if owner == self.task.index:
                self.first[doc_id] = -1  # the first one stays, what follows does not
                continue
            taken[row] = False
            uri, locator = table["uri"][row].as_py(), table["locator"][row].as_py()
            own = json.loads(table["metadata"][row].as_py()).get("id", locator)
            problem = f"got id {own!r} again, expected ids to be unique"
            found.append((row, Malformed(uri, locator, problem, int(sizes[row]))))
        before = np.concatenate([[0], np.cumsum(taken)])
        places = sorted([*malformed, *found], key=lambda pair: pair[0])
        moved = [(int(before[place]), bad) for place, bad in places]
        return table.filter(pa.array(taken)), sizes[taken], held[taken], moved

    def _write(
        self, table: Any, sizes: np.ndarray, held: np.ndarray, malformed: Sequence[tuple[int, Malformed]]
    ) -> None:
        documents, held_out, decisions = self.writers
        if held.any():
            held_out.add(table.filter(pa.array(held)), sizes[held])
            documents.add(table.filter(pa.array(~held)), sizes[~held])
        else:
            documents.add(table, sizes)
        self.held_out += int(held.sum())
        self.documents += len(sizes)
        self.bytes += int(sizes.sum())
        on, on_bytes = int((~held).sum()), int(sizes[~held].sum())
        self.tally.add(Tally(on, on, on_bytes, on_bytes))
        for _, bad in malformed:
            self.tally.drop(bad.rule, bad.size_bytes)
            if bad.rule != "malformed":
                continue
            self.unread_bytes += bad.size_bytes * bad.is_stretch
            if len(self.bad) < EXAMPLES_OF_BAD:
                self.bad.append(f"{bad.uri} at {bad.locator or 0}: {bad.problem}")
        decided = _decisions(table, sizes, held, malformed, self.task.source)
        decisions.add(decided, np.full(decided.num_rows, DECISION_BYTES, np.int64))


def _decisions(
    table: Any, sizes: np.ndarray, held: np.ndarray, malformed: Sequence[tuple[int, Malformed]], source: str
) -> Any:
    """The decisions on some records, in their order."""
    verdicts = Verdicts(sizes, "read")
    if held.any():
        verdicts.keep(held, "held_out")
    kept = verdicts.table(table)
    if not malformed:
        return kept
    rows = []
    for _, bad in malformed:
        evidence = {"uri": bad.uri, "locator": bad.locator, "problem": bad.problem}
        rows.append(
            {
                "doc_id": document_id(bad.uri, bad.locator),
                "source": source,
                "action": "drop",
                "rule": bad.rule,
                "score": None,
                "evidence": json.dumps(evidence, sort_keys=True),
                "bytes_before": bad.size_bytes,
                "bytes_after": 0,
            }
        )
    # A record's decision comes where the record came: before the document whose place it has.
    places = np.concatenate([np.arange(len(sizes)) + 0.5, [float(place) for place, _ in malformed]])
    both = pa.concat_tables([kept, decisions_table(rows)])
    return both.take(pa.array(np.argsort(places, kind="stable")))
