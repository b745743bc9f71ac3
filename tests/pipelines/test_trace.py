"""What traces say, on a small store made by hand."""

from __future__ import annotations

from types import SimpleNamespace

from millrace.pipelines import trace
from millrace.pipelines.trace_run import open_run


def test_a_near_duplicate_names_its_file_rule_survivor_and_similarity(small_store: SimpleNamespace) -> None:
    with open_run(small_store.store) as run:
        traced = trace.document(run, "vendored/api.py")
    last = traced.decisions[-1]
    assert (traced.document.uri, last.stage, last.rule) == ("vendored/api.py", "dedup", "near_duplicate")
    assert last.survivor is not None
    assert last.survivor.uri == "lib/api.py"
    assert last.evidence["similarity"] == 0.91
    assert traced.fate == "dropped by dedup: near_duplicate"


def test_a_contaminated_file_shows_the_example_and_the_span(small_store: SimpleNamespace) -> None:
    with open_run(small_store.store) as run:
        traced = trace.document(run, small_store.id("docs/leak.md")[:6])
    (match,) = traced.decisions[-1].matches
    assert (match.benchmark, match.example, match.span) == ("foxes", "q1", "it sleeps for a while")
    assert "What does the fox do?" in match.text
