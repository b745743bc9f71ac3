"""The last pass of ``dedup_spans``: takes spans out of one shard's documents, and says what and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from millrace.components.shards.map import dump_tallies, tally
from millrace.data.dedup import anchors, cuts, units
from millrace.data.dedup.cuts import Cuts
from millrace.data.documents import catalogue, shuffle
from millrace.data.documents.decisions import Verdicts
from millrace.data.documents.shards import read_shard, shard_name, write_shard
from millrace.data.text.batch import TextBatch, from_arrow, to_arrow

from .config import AnyMethod, DedupSpansConfig

SPANS = 50  # of one document that its evidence lists
LONGEST = 3  # of them with their words and their first occurrence
LONGEST_OF_ALL = 10  # cuts that the report shows
QUOTE_BYTES = 160
FRACTION_BINS = 20


class Spans(NamedTuple):
    """The spans to cut from one shard's texts.

    Attributes:
        rows: The document of each span, int64 [spans].
        starts: First byte, in the batch's data, int64 [spans].
        ends: Its end, exclusive.
        firsts: Number of the document in the corpus that has it first, int64 [spans].
        methods: Number of the method that found it, int64 [spans].
    """

    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    firsts: np.ndarray
    methods: np.ndarray


def cut(
    config: DedupSpansConfig, work: str, folders: tuple[str, str], task: tuple[int, str]
) -> dict[str, Any]:
    """Writes one shard's documents and decisions; returns its tallies and what the report needs."""
    index, path = task
    table = read_shard(path)
    batch = from_arrow(table["text"])
    each = [_spans(Path(work), number, method, index, batch) for number, method in enumerate(config.methods)]
    spans = Spans(*(np.concatenate(column) for column in zip(*each, strict=True)))
    taken = cuts.cuts(batch, spans.rows, spans.starts, spans.ends)
    after = cuts.without(batch, taken)

    # Cut bytes of each document that was cut, by the method whose span made the cut.
    rows, places = np.unique(taken.rows, return_inverse=True)
    cut_bytes = np.zeros((rows.size, len(config.methods)), np.int64)
    np.add.at(cut_bytes, (places, spans.methods[taken.leaders]), taken.ends - taken.starts)
    verdicts = Verdicts(np.diff(batch.offsets), "unique")
    sizes_after, fractions = np.diff(after.offsets)[rows], cut_bytes.sum(1) / verdicts.sizes[rows]
    for number, method in enumerate(config.methods):
        own = cut_bytes.argmax(1) == number
        verdicts.edit(rows[own], method.method, sizes_after[own], fractions[own])
    words_left = anchors.count_words(after, rows, config.min_words_left)
    is_small = words_left < config.min_words_left
    verdicts.drop(rows[is_small], "too_small", words_left[is_small].astype(np.float64))
    longest = _explain(config, Path(work), table, batch, taken, spans, verdicts)

    decisions = verdicts.table(table)
    if rows.size:
        place = table.schema.get_field_index("text")
        table = table.set_column(place, pa.field("text", pa.large_string()), to_arrow(after))
        table = table.filter(pa.array(verdicts.is_kept))
    write_shard(Path(folders[0]) / shard_name(index), table)
    write_shard(Path(folders[1]) / shard_name(index), decisions)
    sources = decisions["source"].combine_chunks().dictionary_encode()
    codes = np.asarray(sources.indices)[rows]
    return {
        "tallies": dump_tallies(tally(decisions)),
        "cut": {
            source: [int((codes == code).sum()), *cut_bytes[codes == code].sum(0).tolist()]
            for code, source in enumerate(sources.dictionary.to_pylist())
        },
        "spans": np.bincount(spans.methods, minlength=len(config.methods)).tolist(),
        "fractions": np.histogram(fractions, FRACTION_BINS, (0.0, 1.0))[0].tolist(),
        "longest": longest,
    }


def _spans(folder: Path, number: int, method: AnyMethod, index: int, batch: TextBatch) -> Spans:
    """The spans that one method found in a shard, in the order of the texts."""
    later = folder / f"later-{number}"
    (places, skipped, firsts), _ = shuffle.read(later, index, index + 1, (np.uint32, np.uint32, np.int64))
    order = np.argsort(places)  # each place is there once
    runs = cuts.runs(places[order].astype(np.int64), skipped[order].astype(np.int64), method.span_units)
    documents = np.load(folder / "documents.npy")[index : index + 2]
    numbering = catalogue.offsets(folder / f"units-{number}")
    offsets = numbering[documents[0] : documents[1] + 1] - numbering[documents[0]]

    rows = np.searchsorted(offsets, runs.firsts, "right") - 1
    some = np.unique(rows)
    starts, ends, own_offsets = boundaries(method, batch, some)
    shift = (offsets[some] - own_offsets[:-1])[np.searchsorted(some, rows)]
    return Spans(
        rows=rows,
        starts=starts[runs.firsts - shift],
        ends=ends[runs.ends - shift - 1],
        firsts=np.searchsorted(numbering, firsts[order][runs.sources], "right") - 1,
        methods=np.full(rows.size, number),
    )


def boundaries(
    method: AnyMethod, batch: TextBatch, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the units of some texts start and end, in the batch's data, and the first unit of each text."""
    begins, ends = batch.offsets[:-1][rows], batch.offsets[1:][rows]
    if method.method == "substrings":
        found = anchors.words(batch.data, begins, ends)
        return found.starts, found.ends, found.offsets
    pieces = units.units(batch.data, begins, ends, method.method)
    return pieces.starts, pieces.ends, pieces.offsets


def quote(batch: TextBatch, start: int, end: int) -> str:
    """The first characters of a span of the batch's data."""
    is_whole = end - start <= QUOTE_BYTES
    text = batch.data[start : end if is_whole else start + QUOTE_BYTES].tobytes().decode(errors="ignore")
    return text if is_whole else text + "…"


def _explain(
    config: DedupSpansConfig,
    folder: Path,
    table: Any,
    batch: TextBatch,
    taken: Cuts,
    spans: Spans,
    verdicts: Verdicts,
) -> list[dict[str, Any]]:
    """Gives every document that was cut its evidence; returns the longest cuts of the shard with theirs."""
    sizes = taken.ends - taken.starts
    bounds = np.append(np.flatnonzero(np.diff(taken.rows, prepend=-1)), taken.rows.size)
    order = np.lexsort((taken.starts, -sizes, taken.rows))
    place_in_row = np.arange(order.size) - np.repeat(bounds[:-1], np.diff(bounds))
    shown = order[place_in_row < LONGEST]
    leaders = taken.leaders[shown]
    names = catalogue.names(folder / "names", spans.firsts[leaders])
    relative = np.stack([taken.starts, taken.ends], 1) - batch.offsets[taken.rows][:, None]
    entries = [
        {
            "method": config.methods[method].method,
            "start": start,
            "end": end,
            "quote": quote(batch, first, last),
            "first": doc_id,
            "first_uri": uri,
        }
        for method, (start, end), first, last, (doc_id, uri) in zip(
            spans.methods[leaders].tolist(),
            relative[shown].tolist(),
            spans.starts[leaders].tolist(),
            spans.ends[leaders].tolist(),
            names,
            strict=True,
        )
    ]
    shown_bounds = np.searchsorted(taken.rows[shown], np.append(taken.rows[bounds[:-1]], len(batch))).tolist()
    all_spans = relative.tolist()
    for at, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        evidence: dict[str, Any] = {
            "spans": all_spans[first : min(last, first + SPANS)],
            "longest": entries[shown_bounds[at] : shown_bounds[at + 1]],
        }
        if last - first > SPANS:
            evidence["more_spans"] = last - first - SPANS
        verdicts.explain(int(taken.rows[first]), evidence)
    longest = np.argsort(-sizes[shown], kind="stable")[:LONGEST_OF_ALL].tolist()
    uris = table["uri"].take(taken.rows[shown[longest]]).to_pylist()
    return [
        {"bytes": int(sizes[shown[at]]), "uri": uri, **entries[at]}
        for at, uri in zip(longest, uris, strict=True)
    ]
