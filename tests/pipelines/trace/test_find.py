"""Finding the document that a person means."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from millrace.pipelines.trace import documents, find
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run, open_run


def test_a_record_that_could_not_be_read_is_found_by_its_file(run: Run) -> None:
    traced = documents.document(run, "docs/bad.md")
    assert traced.fate == "dropped by ingest: malformed"
    assert (traced.document.locator, traced.document.lang) == ("7", None)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ffffffffffff", "closest: "),
        ("abc", "at least 6 digits"),
        ("nowhere/apy.py", "closest:\n.*api.py"),
        ("lib/zzzzzzzz", "has no document 'lib/zzzzzzzz'; `millrace trace text`"),
    ],
)
def test_an_unknown_document_gets_the_closest(run: Run, word: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        find.find_document(run, word)


def test_the_end_of_a_uri_must_fit_one_document(run: Run, small_store: SimpleNamespace) -> None:
    assert find.find_document(run, "setup.py").doc_id == small_store.id("lib/setup.py")
    with pytest.raises(TraceError, match=r"2 documents fit.*\n.*lib/api.py\n.*vendored/api.py"):
        find.find_document(run, "api.py")


def test_a_document_of_another_run_names_that_run(small_store: SimpleNamespace) -> None:
    builder = small_store.builder
    builder.keys = {"filter": builder.keys["filter"]}
    builder.run("20250301-000000-cccc")
    with (
        open_run(small_store.store) as newest,
        pytest.raises(TraceError, match="--run 20250101-000000-aaaa"),
    ):
        documents.document(newest, small_store.id("lib/api.py"))
    with open_run(small_store.store, run="20250101") as first:
        assert documents.document(first, small_store.id("lib/api.py")).fate == "kept, 300 tokens"
