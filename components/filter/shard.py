"""Applies the rules to one shard: every source's documents run through their rules in slices of a megabyte.

A slice goes through all of its rules before the next one starts, which bounds the memory of what rules compute about
its words and lines. Slices of a quarter megabyte, which would fit the L2 cache, take a fifth more time, because each
needs the same number of calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.components.shards.map import dump_tallies, tally
from millrace.data.documents.decisions import Verdicts
from millrace.data.documents.shards import read_shard, shard_name, write_shard
from millrace.data.text.batch import TextBatch, from_arrow, to_arrow

from .findings import bounds_of_rules, find
from .rule import Rows, Rule, bounds_of

ALL_SOURCES = "*"
SLICE_BYTES = 1 << 20

Rules = Mapping[str, Sequence[Rule]]


def rules_of(rules: Rules, source: str) -> Sequence[Rule]:
    """The rules of a source: its own list, or the one for all sources that are not named."""
    return rules.get(source, rules.get(ALL_SOURCES, ()))


def filter_shard(
    rules: Rules, artifacts: Mapping[str, Path], folders: tuple[str, str], task: tuple[int, str]
) -> dict[str, Any]:
    """Filters one shard and returns its tallies and, by source, what its report says, as JSON values.

    Args:
        rules: Source -> its rules, tried in order; those of ``*`` are for every source that is not named.
        artifacts: Label -> folder of what rules may ask for besides documents.
        folders: Where the shard's documents and decisions go.
        task: The shard's index and path.
    """
    index, path = task
    table = read_shard(path).combine_chunks()
    verdicts = Verdicts(np.asarray(pc.binary_length(table["text"])), "passed")
    parts, order, findings = [], [], {}
    for source, places in _places_by_source(table["source"]):
        own = rules_of(rules, source)
        documents = table if len(places) == table.num_rows else table.take(pa.array(places))
        batch, columns = from_arrow(documents["text"]), documents.drop_columns(["text"])
        measured: list[Measured] = []
        for first, end in slices(batch.offsets) if own else ():
            part = TextBatch(batch.data, batch.offsets[first : end + 1])
            seen = Rows(part, columns.slice(first, end - first), artifacts)
            left, found = _decide(own, seen, verdicts, places[first:end])
            measured.append(found)
            parts.append(_table(left, table.schema))
        if not own:
            parts.append(documents)
        elif measured:
            values = [
                np.concatenate(column) for column in zip(*(one.values for one in measured), strict=True)
            ]
            edits = {
                name: np.concatenate([one.edits[name] for one in measured]) for name in measured[0].edits
            }
            deciding = np.concatenate([one.deciding for one in measured])
            findings[source] = find(bounds_of_rules(own), values, deciding, places, edits, verdicts, table)
        order.append(places)
    kept = pa.concat_tables(parts) if parts else table
    if len(order) > 1:
        kept = kept.take(pa.array(np.argsort(np.concatenate(order))))
    write_shard(Path(folders[0]) / shard_name(index), kept.filter(pa.array(verdicts.is_kept)))
    decisions = verdicts.table(table)
    write_shard(Path(folders[1]) / shard_name(index), decisions)
    return {"tallies": dump_tallies(tally(decisions)), "findings": findings}


def _places_by_source(column: Any) -> list[tuple[str, np.ndarray]]:
    """Each source of a shard with the places of its documents, by name."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices)
    found = (
        (name, np.flatnonzero(codes == code)) for code, name in enumerate(encoded.dictionary.to_pylist())
    )
    return sorted(found, key=lambda pair: pair[0])


def slices(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of documents of about ``SLICE_BYTES``, as first and end; at least one document each."""
    first, count = 0, len(offsets) - 1
    while first < count:
        end = int(np.searchsorted(offsets, offsets[first] + SLICE_BYTES, "right")) - 1
        end = min(max(end, first + 1), count)
        yield first, end
        first = end


def _table(rows: Rows, schema: Any) -> Any:
    """The documents as a table again, texts and languages as the rules left them."""
    at = schema.get_field_index("text")
    return rows.columns.add_column(at, schema.field(at).name, to_arrow(rows.batch)).cast(schema)


class Measured(NamedTuple):
    """The findings of the rules in a slice.

    Attributes:
        values: The value that each bound limits, float64 [documents] each.
        deciding: The bound that dropped a document, or -1, int64 [documents].
        edits: Kind of edit -> count, int64 [documents] each.
    """

    values: list[np.ndarray]
    deciding: np.ndarray
    edits: dict[str, np.ndarray]


def _decide(
    rules: Sequence[Rule], rows: Rows, verdicts: Verdicts, places: np.ndarray
) -> tuple[Rows, Measured]:
    """Runs the rules over one slice and enters the verdicts; returns the documents as the rules leave them.

    Args:
        rules: The source's rules, in order.
        rows: The slice's documents.
        verdicts: The shard's verdicts.
        places: Where in the shard the documents are, int64 [documents].
    """
    count = len(rows.batch)
    names: list[str] = []
    thresholds: list[float] = []
    scores: list[np.ndarray] = []
    broken: list[np.ndarray] = []
    edits: dict[str, np.ndarray] = {}
    measured: list[np.ndarray] = []
    told: list[Mapping[str, np.ndarray]] = []  # what the rule of each test says of what it drops
    bound_of: list[int] = []  # of each test, because those for texts that edits leave empty are no bounds
    for rule in rules:
        outcome = rule.apply(rows)
        for bound in bounds_of(rule):
            names.append(bound.name)
            thresholds.append(bound.threshold)
            scores.append(outcome.values[bound.value])
            told.append(outcome.evidence)
            bound_of.append(len(measured))
            measured.append(scores[-1])
            broken.append(bound.broken(scores[-1]))
        if outcome.lang is not None:
            at = rows.columns.schema.get_field_index("lang")
            rows = replace(rows, columns=rows.columns.set_column(at, "lang", outcome.lang))
        if outcome.edited is not None:
            rows = replace(rows, batch=outcome.edited.batch)
            for what, counts in outcome.edited.counts.items():
                name = f"{rule.label}.{what}"
                edits[name] = edits.get(name, 0) + counts
            names.append(f"{rule.label}.nothing_left")
            told.append(outcome.evidence)
            bound_of.append(-1)
            thresholds.append(1.0)
            scores.append(np.diff(rows.batch.offsets).astype(np.float64))
            broken.append(scores[-1] < 1)
    if not names:  # rules without bounds and edits only measure, or set the language
        return rows, Measured(measured, np.full(count, -1), edits)
    drops = np.array(broken).reshape(len(names), count)
    is_dropped = np.logical_or.reduce(drops, axis=0)
    deciding = drops.argmax(axis=0)
    for at in np.unique(deciding[is_dropped]):
        own = is_dropped & (deciding == at)
        verdicts.drop(places[own], names[at], scores[at][own])
    edited = _enter_edits(edits, rows, is_dropped, verdicts, places)
    gone = np.flatnonzero(is_dropped)
    limits = [f'"threshold": {threshold!r}' for threshold in thresholds]
    dropped = zip(
        gone.tolist(),
        places[gone].tolist(),
        deciding[gone].tolist(),
        np.array(scores)[deciding[gone], gone].tolist(),
        _also(names, deciding[gone], drops[:, gone]),
        strict=True,
    )
    for row, place, at, value, also in dropped:  # JSON by hand, for it may be half of all documents
        fields = [limits[at], f'"value": {value!r}']
        if also:
            fields.append(also)
        if row in edited:
            fields.append(f'"edited": {edited[row]}')
        for name, values in told[at].items():
            fields.append(f'"{name}": {json.dumps(values[row], ensure_ascii=False)}')
        fields.sort()
        verdicts.explain(place, f"{{{', '.join(fields)}}}")
    return rows, Measured(measured, np.where(is_dropped, np.array(bound_of)[deciding], -1), edits)


def _also(names: Sequence[str], deciding: np.ndarray, drops: np.ndarray) -> list[str]:
    """The tests after the deciding one that each document fails too, as a JSON field; empty if none.

    Args:
        names: The tests.
        deciding: The first that a document fails, int64 [documents].
        drops: bool [tests, documents].
    """
    behind = drops & (np.arange(len(names))[:, None] > deciding)
    written: dict[bytes, str] = {}  # few patterns recur
    found = []
    packed = np.packbits(behind, axis=0)
    for at in range(packed.shape[1]):
        pattern = packed[:, at].tobytes()
        if pattern not in written:
            bits = np.unpackbits(np.frombuffer(pattern, np.uint8))[: len(names)]
            more = [names[test] for test in np.flatnonzero(bits).tolist()]
            written[pattern] = f'"also": {json.dumps(more)}' if more else ""
        found.append(written[pattern])
    return found


def _enter_edits(
    edits: Mapping[str, np.ndarray],
    rows: Rows,
    is_dropped: np.ndarray,
    verdicts: Verdicts,
    places: np.ndarray,
) -> dict[int, str]:
    """Enters the edits of documents that go on; returns the counts of each kind of edit, by row, as JSON."""
    if not edits:
        return {}
    names = list(edits)
    counts = np.array(list(edits.values())).reshape(len(names), len(rows.batch))
    is_edited = counts.any(axis=0)
    first, sizes = (counts > 0).argmax(axis=0), np.diff(rows.batch.offsets)
    for at in np.unique(first[is_edited & ~is_dropped]):
        own = is_edited & ~is_dropped & (first == at)
        verdicts.edit(places[own], names[at].partition(".")[0], sizes[own], counts[:, own].sum(axis=0))
    order = sorted(range(len(names)), key=names.__getitem__)
    keys = [json.dumps(names[at]) for at in order]
    own_rows = np.flatnonzero(is_edited)
    fields: list[list[str]] = [[] for _ in range(own_rows.size)]
    for key, counted in zip(keys, counts[order][:, own_rows], strict=True):
        some = np.flatnonzero(counted)
        for at, count in zip(some.tolist(), counted[some].tolist(), strict=True):
            fields[at].append(f"{key}: {count}")
    found = {row: f"{{{', '.join(own)}}}" for row, own in zip(own_rows.tolist(), fields, strict=True)}
    going_on = own_rows[~is_dropped[own_rows]]
    for row, place in zip(going_on.tolist(), places[going_on].tolist(), strict=True):
        verdicts.explain(place, f'{{"edited": {found[row]}}}')
    return found
