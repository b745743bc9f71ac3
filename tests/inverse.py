"""Whether tracing documents and tracing steps are inverse, for every document and every step of a run."""

from __future__ import annotations

from collections import defaultdict

from millrace.pipelines.trace import training
from millrace.pipelines.trace.runs import Run

Parts = dict[str, dict[tuple[int, int], tuple[int, int]]]


def read_by_steps(run: Run) -> Parts:
    """By brute force: document -> (step, row) -> the first token of it that the row holds, and how many."""
    found: Parts = defaultdict(dict)
    total_steps = training.step(run, 0).total_steps
    for number in range(total_steps):
        for row in training.step(run, number).rows:
            assert sum(part.length for part in row.parts) == row.length
            for part in row.parts:
                found[part.document.doc_id][number, row.row] = (part.start, part.length)
    return found


def assert_inverse(run: Run, doc_ids: set[str]) -> int:
    """Compares each document's trace with all steps' traces.

    Returns:
        How many (document, step, row) there are.
    """
    forward = read_by_steps(run)
    assert forward.keys() <= doc_ids
    windows = {
        (number, row.row): row
        for number in range(training.step(run, 0).total_steps)
        for row in training.step(run, number).rows
    }
    for doc_id in doc_ids:
        spans = training.spans_of(run, doc_id)
        backward = {}
        for reading in training.readings(run, spans):
            assert len(set(reading.steps)) == len(reading.steps) == sum(reading.phases.values())
            for place in reading.steps:
                (span,) = spans
                row = windows[place]
                assert row.source == span.source
                first = max(span.start, row.start)
                last = min(span.start + span.length, row.start + row.length)
                backward[place] = (first - span.start, last - first)
        assert backward == forward.get(doc_id, {}), doc_id
    return sum(map(len, forward.values()))
