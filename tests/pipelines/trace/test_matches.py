"""Evidence resolved: the document that was kept, the example that was matched, and both from the other side."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from millrace.pipelines.trace import documents, matches
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"prompt": "p", "answer": 7}, "p\n7"),
        ({"prompt": "p", "answer": 0}, "p\n0"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": 1}, "p\n- a\n* b"),
        ({"text": "t"}, "t"),
        ({}, ""),
    ],
)
def test_an_example_is_shown_with_its_right_answer(record: dict[str, Any], text: str) -> None:
    assert matches.example_text(record) == text


def test_a_survivor_points_back_at_what_was_dropped_for_it(run: Run, small_store: SimpleNamespace) -> None:
    kept, dropped = (small_store.id(f"{folder}/api.py") for folder in ("lib", "vendored"))
    ((doc_id, evidence),) = matches.pointing_at(run, kept)
    survivor = matches.survivor(run, evidence)
    assert survivor is not None
    assert (doc_id, survivor.doc_id) == (dropped, kept)
    assert matches.survivor(run, {}) is None
    assert matches.pointing_at(run, dropped) == []


@pytest.mark.parametrize("example", ["q1", "answer"])
def test_an_example_points_back_at_what_overlaps_it(
    run: Run, small_store: SimpleNamespace, example: str
) -> None:
    """The example that overlaps most, and those that the evidence names beside it."""
    ((doc_id, _),) = matches.pointing_at(run, f"foxes/{example}")
    assert doc_id == small_store.id("docs/leak.md")


def test_an_example_is_read_from_its_line(run: Run) -> None:
    assert [
        (matches.example_record(run, "foxes", name) or {}).get("id") for name in ("q1", "answer", "q2")
    ] == [
        "q1",
        "answer",
        None,
    ]


def test_an_unknown_example_gets_the_closest(run: Run) -> None:
    with pytest.raises(TraceError, match="did you mean 'foxes'"):
        documents.example(run, "foxe/q1")
    with pytest.raises(TraceError, match="closest: foxes/answer"):
        documents.example(run, "foxes/answers")
