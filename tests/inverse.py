"""Whether tracing documents and tracing steps are inverse, for every document and every step of a run."""

from __future__ import annotations

from collections import defaultdict

from millrace.data.documents.shards import read_shards
from millrace.pipelines.trace import training
from millrace.pipelines.trace.rows import artifacts_of
from millrace.pipelines.trace.runs import Run

Parts = dict[str, dict[tuple[int, int], tuple[int, int]]]


def every_document(run: Run) -> set[str]:
    """The ids of all that the run's sources gave, read from the shards."""
    folders = [run.store.folder(artifact.digest) for artifact in artifacts_of(run, "documents")]
    return {
        doc_id
        for folder in folders
        for table in read_shards(folder, ["doc_id"])
        for doc_id in table["doc_id"].to_pylist()
    }


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


def assert_inverse(run: Run) -> int:
    """Compares the trace of each document, used or not, with the traces of all steps.

    Returns:
        How many (document, step, row) there are.
    """
    doc_ids = every_document(run)
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
