"""The training steps that read a document and the documents that a step read: computed from the sampler, not logged.

The sampler (``data.training.mixture``) is a pure function of the configuration, the seed and the sizes of the token streams,
all of which the stage's record and its input name, so its inverse answers for any past run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from millrace.pipelines.index.row_index import id_range
from millrace.pipelines.index.span_arrays import Place

from .errors import TraceError
from .find import sources_of
from .order import TRAIN_ON_TOKENS, mixture_of, training_stages
from .rows import artifacts_of
from .runs import Run, Source


@dataclass(frozen=True)
class Span:
    """A document's place in a token stream.

    Attributes:
        stage: The stage that made the tokens.
        tokens: Digest of its artifact.
        source: The stream.
        start: The document's first token in it.
        length: Tokens, the boundary token counted.
    """

    stage: str
    tokens: str
    source: str
    start: int
    length: int


@dataclass(frozen=True)
class Reading:
    """How a training stage read one document.

    Attributes:
        stage: The stage.
        total_steps: Steps of the whole training.
        steps: Every (step, row of the batch) that read any of the document's tokens, in order.
        phases: Phase -> rows that read it in that phase, from 0.
    """

    stage: str
    total_steps: int
    steps: tuple[tuple[int, int], ...]
    phases: dict[int, int]


@dataclass(frozen=True)
class Part:
    """The part of one document in a batch row: tokens ``[start, start + length)`` of the document."""

    document: Source
    start: int
    length: int


@dataclass(frozen=True)
class Row:
    """One row of a step's batch: tokens ``[start, start + length)`` of a source and the documents in them."""

    row: int
    source: str
    start: int
    length: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class StepTrace:
    """The batch that a training step read.

    Attributes:
        run: The run's id.
        stage: The training stage.
        step: The step, from 0.
        total_steps: Steps of the whole training.
        phase: The step's phase, from 0.
        rows: Its batch.
    """

    run: str
    stage: str
    step: int
    total_steps: int
    phase: int
    rows: tuple[Row, ...]


def spans_of(run: Run, doc_id: str) -> tuple[Span, ...]:
    """Where a document lies in the run's token streams."""
    return spans_of_all(run, [doc_id]).get(doc_id, ())


def spans_of_all(run: Run, doc_ids: Sequence[str]) -> dict[str, tuple[Span, ...]]:
    """Where documents lie in the run's token streams; those that lie nowhere are left out."""
    wanted = set(doc_ids)
    found: dict[str, tuple[Span, ...]] = {}
    for artifact in artifacts_of(run, "tokens") if wanted else ():
        index = artifact.index(run)
        rows = index.lookup_all("ids", [id_range(doc_id) for doc_id in wanted])
        for doc_id, source, start, length in map(index.spans.of_row, rows):
            if doc_id in wanted:
                span = Span(artifact.stage, artifact.digest, source, start, length)
                found[doc_id] = (*found.get(doc_id, ()), span)
    return found


def readings(run: Run, spans: Sequence[Span]) -> tuple[Reading, ...]:
    """When every training stage of the run read a document."""
    found = []
    for stage, tokens in training_stages(run):
        mixture = mixture_of(run, stage, tokens)
        steps = [
            place
            for span in spans
            if span.tokens == tokens
            for place in mixture.steps_of(span.source, span.start, span.length)
        ]
        phases = Counter(mixture.phase_of(step) for step, _ in steps)
        found.append(
            Reading(stage.stage, mixture.total_steps, tuple(sorted(steps)), dict(sorted(phases.items())))
        )
    return tuple(found)


def step(run: Run, number: int, name: str | None = None) -> StepTrace:
    """The batch that a step of a training stage read.

    Args:
        run: The run.
        number: The step, from 0.
        name: The stage; the run's first that trains on token streams by default.

    Raises:
        TraceError: The run has no such stage, or it has no such step.
    """
    stages = training_stages(run)
    if not stages:
        raise TraceError(
            f"the run {run.run} has no finished stage of {' or '.join(TRAIN_ON_TOKENS)}, so no training step to trace"
        )
    found = [pair for pair in stages if name in (None, pair[0].stage)]
    if not found:
        raise TraceError(
            f"got the stage {name!r}, expected one of the run {run.run} that trains on token streams: "
            f"{', '.join(stage.stage for stage, _ in stages)}"
        )
    stage, tokens = found[0]
    mixture = mixture_of(run, stage, tokens)
    if not 0 <= number < mixture.total_steps:
        raise TraceError(
            f"got step {number}, expected one from 0 to {mixture.total_steps - 1} of {stage.stage}"
        )
    batch = mixture.locate(number)
    spans = next(one for one in artifacts_of(run, "tokens") if one.digest == tokens).index(run).spans
    inside = [spans.inside(source, start, start + length) for source, start, length in batch]
    sources = sources_of(run, [place.doc_id for places in inside for place in places])
    rows = tuple(
        Row(row, source, start, length, _parts(places, sources, start, start + length))
        for row, ((source, start, length), places) in enumerate(zip(batch, inside, strict=True))
    )
    return StepTrace(run.run, stage.stage, number, mixture.total_steps, mixture.phase_of(number), rows)


def _parts(places: Sequence[Place], sources: dict[str, Source], start: int, end: int) -> tuple[Part, ...]:
    parts = []
    for place in places:
        if place.doc_id in sources:
            first = max(place.start, start)
            length = min(place.start + place.length, end) - first
            parts.append(Part(sources[place.doc_id], first - place.start, length))
    return tuple(parts)
