"""The second pass of ``decontaminate``: finds the repetitions in one shard, drops or cuts them, and records each with
its evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.components.shards.map import dump_tallies, tally
from millrace.data.contamination import chains, words
from millrace.data.contamination.chains import Matches, Rule
from millrace.data.contamination.index import Index
from millrace.data.dedup import cuts
from millrace.data.documents.decisions import Verdicts
from millrace.data.documents.shards import read_shard, shard_name, write_shard
from millrace.data.text.batch import TextBatch, from_arrow, from_texts, replaced, to_arrow

from .config import DecontaminateConfig
from .examples import INDEX_FOLDER, NAMES_FILE, rule_of

SPAN_CHARACTERS = 400
SPANS = 10  # of one document that its evidence quotes
OTHER_EXAMPLES = 99
REPORTED_HITS = 20  # of each benchmark
MAX_CUTS = 8  # rounds: an example may stand in a document several times

Names = Sequence[tuple[str, str]]

_LOADING = Lock()


def _load(work: str) -> tuple[Index, Names]:
    """The index, read once a process and run."""
    with _LOADING:  # not by every thread at once
        return _read(work, (Path(work) / INDEX_FOLDER).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(work: str, created: int) -> tuple[Index, Names]:
    index = Index.load(Path(work) / INDEX_FOLDER)
    return index, [tuple(name) for name in json.loads((Path(work) / NAMES_FILE).read_bytes())]


def clean_shard(
    config: DecontaminateConfig, work: str, folders: tuple[str, str], task: tuple[int, str]
) -> dict[str, Any]:
    """Writes one shard's documents and decisions; returns its tallies and what the report needs."""
    number, path = task
    table = read_shard(path).combine_chunks()
    index, names = _load(work)
    rule = rule_of(config)
    batch = from_arrow(table["text"])
    matches = chains.match(index, batch, rule)
    rows, firsts = np.unique(matches.rows, return_index=True)
    verdicts = Verdicts(np.diff(batch.offsets), "clean")
    best = matches.coverage[firsts, :2].max(1) if rows.size else np.zeros(0)
    verdicts.drop(rows, "contaminated", best)
    quotes = [_evidence(batch, matches, names, low, high) for low, high in _runs(firsts, matches.rows.size)]
    for row, evidence in zip(rows.tolist(), quotes, strict=True):
        verdicts.explain(row, evidence)
    if config.action == "cut" and rows.size:
        cut = _cut(config, index, rule, batch, matches, rows)
        batch = replaced(batch, cut)
        for at, row in enumerate(rows.tolist()):
            if row in cut:
                verdicts.edit([row], "contaminated", len(cut[row]), best[at])
        _drop_small(config, batch, [row for row in rows.tolist() if row in cut], verdicts)
        place = table.schema.get_field_index("text")
        changed = table.set_column(place, pa.field("text", pa.large_string()), to_arrow(batch))
    else:
        changed = table
    decisions = verdicts.table(table)
    if rows.size:
        changed = changed.filter(pa.array(verdicts.is_kept))
    write_shard(Path(folders[0]) / shard_name(number), changed)
    write_shard(Path(folders[1]) / shard_name(number), decisions)
    return {
        "tallies": dump_tallies(tally(decisions)),
        **_summary(table.take(pa.array(rows)), rows, matches, names, quotes),
    }


def _runs(firsts: np.ndarray, end: int) -> list[tuple[int, int]]:
    return list(pairwise([*firsts.tolist(), end]))


def _evidence(batch: TextBatch, matches: Matches, names: Names, low: int, high: int) -> dict[str, Any]:
    """The repetitions in a document, the fullest first."""
    text = _bytes(batch, int(matches.rows[low]))
    spans = [_span(text, matches, names, at) for at in range(low, min(high, low + SPANS))]
    also = [list(names[example]) for example in matches.examples[low + 1 : high][:OTHER_EXAMPLES].tolist()]
    return {**spans[0], "examples": high - low, "also": also, "spans": spans[1:]}


def _span(text: bytes, matches: Matches, names: Names, at: int) -> dict[str, Any]:
    first = len(text[: matches.starts[at]].decode())
    matching = text[matches.starts[at] : matches.ends[at]].decode()
    whole, question, answer = (round(float(share), 4) for share in matches.coverage[at])
    benchmark, example = names[int(matches.examples[at])]
    return {
        "benchmark": benchmark,
        "example": example,
        "bits": round(float(matches.scores[at]), 1),
        "words": int(matches.words[at]),
        "coverage": whole,
        "question": question,
        "answer": answer,
        "start": first,
        "end": first + len(matching),
        "span": matching[:SPAN_CHARACTERS],
    }


def _bytes(batch: TextBatch, row: int) -> bytes:
    return bytes(batch.data[batch.offsets[row] : batch.offsets[row + 1]])


def _cut(
    config: DecontaminateConfig,
    index: Index,
    rule: Rule,
    batch: TextBatch,
    matches: Matches,
    rows: np.ndarray,
) -> dict[int, bytes]:
    """The texts of the documents that repeat nothing any more once spans are cut, by row."""
    left = rows
    texts = from_arrow(
        pa.array([_bytes(batch, row) for row in rows.tolist()], pa.large_binary()).cast(pa.large_string())
    )
    found = matches._replace(rows=np.searchsorted(rows, matches.rows))
    done: dict[int, bytes] = {}
    for _ in range(MAX_CUTS):
        bases = texts.offsets[found.rows]
        ends = _with_punctuation(texts, found.rows, bases + found.ends)
        texts = cuts.without(texts, cuts.cuts(texts, found.rows, bases + found.starts, ends))
        found = chains.match(index, texts, rule)
        is_left = np.zeros(left.size, np.bool_)
        is_left[found.rows] = True
        done |= {int(left[at]): _bytes(texts, at) for at in np.flatnonzero(~is_left).tolist()}
        if not is_left.any():
            break
        kept = [_bytes(texts, at) for at in np.flatnonzero(is_left).tolist()]
        texts = from_arrow(pa.array(kept, pa.large_binary()).cast(pa.large_string()))
        found = found._replace(rows=(np.cumsum(is_left) - 1)[found.rows])
        left = left[is_left]
    return done


def _with_punctuation(texts: TextBatch, rows: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The ends of spans moved behind the ASCII punctuation that follows them."""
    moved = ends.copy()
    for at, row in enumerate(rows.tolist()):
        stop = texts.offsets[row + 1]
        while moved[at] < stop and chr(texts.data[moved[at]]) in "?!.,:;)]}\"'":
            moved[at] += 1
    return np.asarray(moved)


def _drop_small(config: DecontaminateConfig, batch: TextBatch, rows: list[int], verdicts: Any) -> None:
    """Drops documents that too little is left of."""
    if not rows:
        return
    firsts = words.hashes(from_texts([_bytes(batch, row).decode() for row in rows])).offsets
    for at, row in enumerate(rows):
        count = int(firsts[at + 1] - firsts[at])
        if count < config.min_words_left:
            verdicts.drop([row], "too_small", float(count))


def _summary(
    documents: Any, rows: np.ndarray, matches: Matches, names: Names, quotes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """One shard's part of the report; documents are those that repeat something."""
    examples: dict[int, list[float]] = {}
    places = dict(zip(rows.tolist(), range(rows.size), strict=True))
    sources, uris, ids = (documents[name].to_pylist() for name in ("source", "uri", "doc_id"))
    by_source: dict[str, dict[str, int]] = {}
    hits: dict[str, list[dict[str, Any]]] = {}
    counted = set()
    for row, example, shares in zip(
        matches.rows.tolist(), matches.examples.tolist(), matches.coverage.tolist(), strict=True
    ):
        benchmark = names[example][0]
        examples[example] = [max(a, b) for a, b in zip(examples.get(example, [0.0] * 3), shares, strict=True)]
        if (row, benchmark) not in counted:
            counted.add((row, benchmark))
            source = sources[places[row]]
            own = by_source.setdefault(benchmark, {})
            own[source] = own.get(source, 0) + 1
    for at, evidence in enumerate(quotes):
        about = {"doc_id": ids[at], "uri": uris[at], "source": sources[at]}
        for span in (evidence, *evidence["spans"]):
            quoted = {key: value for key, value in span.items() if key not in ("examples", "also", "spans")}
            hits.setdefault(span["benchmark"], []).append(about | quoted)
    return {
        "examples": sorted([example, *shares] for example, shares in examples.items()),
        "documents": by_source,
        "hits": {name: sorted(own, key=hit_order)[:REPORTED_HITS] for name, own in hits.items()},
    }


def hit_order(hit: Mapping[str, Any]) -> tuple[Any, ...]:
    """The fullest repetition first."""
    return (-hit["bits"], hit["example"], hit["doc_id"])
