"""Tracing: from a document to everything that happened to it, and back.

The answers are plain frozen values that print as JSON; the command line and the browser only lay them out. Facts
about single documents come from the lineage index; texts are read from the shards when a question needs them, and
training steps are computed by the sampler's inverse, never looked up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.pipelines.index import evidence

from . import matches, training
from .errors import TraceError
from .find import find_document, source_of, sources_of
from .matches import Match
from .rows import Row, rows_of
from .runs import Run, Source
from .training import Reading, Span

COLUMNS = ("doc_id", "action", "rule", "score", "evidence", "bytes_before", "bytes_after")


@dataclass(frozen=True)
class Decision:
    """One data stage's decision on a document, its evidence resolved.

    Attributes:
        stage: The stage.
        component: What it uses.
        action: ``keep``, ``drop`` or ``edit``.
        rule: Why.
        score: The rule's measured value, or None.
        threshold: What the value was compared with, from the evidence or the stage's configuration, or None.
        evidence: As the stage wrote it.
        bytes_before: Size of the text before.
        bytes_after: Size after; 0 when dropped.
        survivor: The document that was kept in this one's place, or None.
        matches: Benchmark examples that it contains.
    """

    stage: str
    component: str
    action: str
    rule: str
    score: float | None
    threshold: float | None
    evidence: Mapping[str, Any]
    bytes_before: int
    bytes_after: int
    survivor: Source | None = None
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True)
class Example:
    """A benchmark example, chat or preference pair that was made from a document."""

    stage: str
    kind: str
    file: str
    id: str


@dataclass(frozen=True)
class DocumentTrace:
    """Everything about one document in one run.

    Attributes:
        run: The run's id.
        pipeline: Its pipeline.
        status: How the run ended.
        document: Where it came from.
        fate: What became of it, in a few words.
        decisions: What every data stage did to it, in running order.
        spans: Where it lies in token streams.
        readings: When training read it.
        examples: What else was made from it.
        duplicates: Documents that were dropped because this one was kept.
    """

    run: str
    pipeline: str
    status: str
    document: Source
    fate: str
    decisions: tuple[Decision, ...]
    spans: tuple[Span, ...]
    readings: tuple[Reading, ...]
    examples: tuple[Example, ...]
    duplicates: tuple[Source, ...]


@dataclass(frozen=True)
class ExampleTrace:
    """Everything about one benchmark example in one run.

    Attributes:
        run: The run's id.
        benchmark: The benchmark.
        example: The example's id.
        record: The example as it stands in its file.
        document: The document that it was made from, or None.
        hits: Documents that overlap it, with the span and what became of them.
    """

    run: str
    benchmark: str
    example: str
    record: Mapping[str, Any]
    document: Source | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Hit:
    """A document that overlaps an example."""

    document: Source
    span: str
    fate: str


def document(run: Run, what: str) -> DocumentTrace:
    """Traces the document that a person means; see ``find_document``.

    Raises:
        TraceError: No document or several fit.
    """
    source = find_document(run, what)
    doc_id = source.doc_id
    rows = rows_of(run, "decisions", [doc_id], COLUMNS).get(doc_id, [])
    spans = training.spans_of(run, doc_id)
    pointing = [other for other, _ in matches.pointing_at(run, doc_id)]
    copies = sources_of(run, pointing)
    return DocumentTrace(
        run=run.run,
        pipeline=run.pipeline,
        status=run.status,
        document=source,
        fate=_fate(rows, spans),
        decisions=_decisions(run, rows),
        spans=spans,
        readings=training.readings(run, spans) if spans else (),
        examples=examples_of(run, doc_id),
        duplicates=tuple(copies[other] for other in pointing if other in copies),
    )


def example(run: Run, name: str) -> ExampleTrace:
    """Traces a benchmark's example: its text, its origin, and the documents that overlap it.

    Args:
        run: The run.
        name: ``BENCHMARK/ID``.

    Raises:
        TraceError: The run has no such example; the message names the closest.
    """
    benchmark, _, number = name.partition("/")
    record = matches.example_record(run, benchmark, number)
    if record is None:
        raise TraceError(matches.unknown_example(run, benchmark, number))
    origin = record.get("doc_id")
    pointing = matches.pointing_at(run, f"{benchmark}/{number}")
    fate = fates(run, [doc_id for doc_id, _ in pointing])
    sources = sources_of(run, [doc_id for doc_id, _ in pointing])
    hits = []
    for doc_id, found in pointing:
        source = sources.get(doc_id)
        spans = [
            hit.span for hit in evidence.hits(found) if (hit.benchmark, hit.example) == (benchmark, number)
        ]
        if source is not None:
            hits.append(Hit(source, spans[0] if spans else "", fate[doc_id]))
    document = source_of(run, origin) if isinstance(origin, str) else None
    return ExampleTrace(run.run, benchmark, number, record, document, tuple(hits))


def _decisions(run: Run, rows: Sequence[Row]) -> tuple[Decision, ...]:
    """Every data stage's decision on a document, in running order, evidence resolved."""
    stages = {stage.stage: stage for stage in run.stages}
    decisions = []
    for row in rows:
        stage = stages[row.artifact.stage]
        values = row.values
        found = json.loads(values["evidence"] or "{}")
        decisions.append(
            Decision(
                stage=stage.stage,
                component=stage.component,
                action=values["action"],
                rule=values["rule"],
                score=values["score"],
                threshold=evidence.threshold(found, stage.config),
                evidence=found,
                bytes_before=values["bytes_before"],
                bytes_after=values["bytes_after"],
                survivor=matches.survivor(run, found),
                matches=matches.matches(run, found),
            )
        )
    return tuple(decisions)


def examples_of(run: Run, doc_id: str) -> tuple[Example, ...]:
    """The benchmark examples, chats and preference pairs that were made from a document."""
    rows = run.rows(
        "SELECT stage, kind, file, id FROM examples JOIN scope USING (artifact) WHERE doc_id = ? ORDER BY position, file, id",
        doc_id,
    )
    return tuple(Example(**row) for row in map(dict, rows))


def fates(run: Run, doc_ids: Sequence[str]) -> dict[str, str]:
    """The end of each document, in a few words: ``dropped by dedup: near_duplicate``."""
    decisions = rows_of(run, "decisions", doc_ids, ("doc_id", "action", "rule"))
    spans = training.spans_of_all(run, doc_ids)
    return {doc_id: _fate(decisions.get(doc_id, []), spans.get(doc_id, ())) for doc_id in doc_ids}


def _fate(decisions: Sequence[Row], spans: Sequence[Span]) -> str:
    drop = next((row for row in decisions if row.values["action"] == "drop"), None)
    if drop is not None:
        return f"dropped by {drop.artifact.stage}: {drop.values['rule']}"
    if any(row.values["rule"] == "held_out" for row in decisions):
        return "held out for evaluation"
    tokens = sum(span.length for span in spans)
    return f"kept, {tokens:,} tokens" if tokens else "kept"
