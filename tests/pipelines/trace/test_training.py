"""Traces name the steps that read a document, and the documents that a step read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from millrace.pipelines.trace import documents, training
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run


def test_training_steps_are_those_whose_rows_hold_the_document(run: Run) -> None:
    traced = documents.document(run, "lib/api.py")
    (reading,) = traced.readings
    found = []
    for number in range(reading.total_steps):
        for row in training.step(run, number).rows:
            if any(part.document.uri == "lib/api.py" for part in row.parts):
                found.append((number, row.row))
    assert list(reading.steps) == found
    assert sum(reading.phases.values()) == len(found)


def test_the_parts_of_a_row_add_up_to_it(run: Run) -> None:
    for row in training.step(run, 3).rows:
        assert sum(part.length for part in row.parts) == row.length


def test_spans_of_many_documents_are_those_of_each(run: Run, small_store: SimpleNamespace) -> None:
    every = {uri: small_store.id(uri) for uri in small_store.texts}
    spans = training.spans_of_all(run, list(every.values()))
    assert {
        uri: [(span.start, span.length) for span in spans[doc_id]]
        for uri, doc_id in every.items()
        if doc_id in spans
    } == {
        "lib/setup.py": [(0, 100)],
        "lib/api.py": [(100, 300)],
        "lib/end.py": [(400, 112)],
    }
    assert all(training.spans_of(run, doc_id) == spans.get(doc_id, ()) for doc_id in every.values())


@pytest.mark.parametrize(
    ("number", "stage", "message"),
    [
        (12, None, "expected one from 0 to 11 of pretrain"),
        (-1, "pretrain", "expected one from 0 to 11"),
        (0, "sft", "got the stage 'sft', expected one of .*: pretrain"),
    ],
)
def test_a_step_that_no_stage_has_is_refused(run: Run, number: int, stage: str | None, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        training.step(run, number, stage)
