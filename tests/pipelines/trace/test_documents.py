"""Traces of documents, on a small store made by hand."""

from __future__ import annotations

from types import SimpleNamespace

from millrace.pipelines.trace import documents
from millrace.pipelines.trace.runs import Run


def test_a_near_duplicate_names_its_file_rule_survivor_and_similarity(run: Run) -> None:
    traced = documents.document(run, "vendored/api.py")
    last = traced.decisions[-1]
    assert (traced.document.uri, last.stage, last.rule) == ("vendored/api.py", "dedup", "near")
    assert last.survivor is not None
    assert last.survivor.uri == "lib/api.py"
    assert last.evidence["similarity"] == 0.91
    assert traced.fate == "dropped by dedup: near"
    assert [copy.uri for copy in documents.document(run, "lib/api.py").duplicates] == ["vendored/api.py"]


def test_a_contaminated_file_shows_the_example_and_the_span(run: Run, small_store: SimpleNamespace) -> None:
    traced = documents.document(run, small_store.id("docs/leak.md")[:6])
    match, also = traced.decisions[-1].matches
    assert (also.example, also.span) == ("answer", "")
    assert (match.benchmark, match.example, match.span) == ("foxes", "q1", "it sleeps for a while")
    assert "What does the fox do?" in match.text
    (hit,) = documents.example(run, "foxes/q1").hits
    assert (hit.document.uri, hit.fate) == ("docs/leak.md", "dropped by decontaminate: contaminated")


def test_decisions_stand_in_running_order(run: Run) -> None:
    traced = documents.document(run, "lib/api.py")
    assert [item.stage for item in traced.decisions] == ["ingest", "filter", "dedup", "decontaminate"]


def test_a_held_out_document_names_the_examples_made_of_it(run: Run) -> None:
    traced = documents.document(run, "held/exam.py")
    assert traced.fate == "held out for evaluation"
    assert [f"{made.file}/{made.id}" for made in traced.examples] == ["foxes/answer"]
    origin = documents.example(run, "foxes/answer").document
    assert origin is not None
    assert origin.uri == "held/exam.py"
