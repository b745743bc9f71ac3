"""The page of ``filter``: sources and nearest documents are text."""

from __future__ import annotations

from typing import Any

from tests.pages import Tags

from millrace.components.filter import report as filter_report

NAME = "<script>a&amp;b"  # shown as it stands here

BOUND = {
    "bound": "gopher_quality.min_words",
    "threshold": 50,
    "broken": 3,
    "dropped": 2,
    "dropped_bytes": 20,
    "histogram": {"edges": [0.0, 50.0, 100.0], "counts": [3, 4]},
    "examples": {"dropped": [{"doc_id": NAME, "value": 49, "text": NAME}]},
}
COUNTS = {"documents_in": 7, "documents_out": 5, "bytes_in": 70, "bytes_out": 50}
SOURCES: dict[str, Any] = {
    NAME: COUNTS | {"bounds": [BOUND], "edits": {"ftfy": {"documents": 1, "edits": 2}}},
    "as it came": COUNTS | {"bounds": [], "edits": {}},
}


def test_names_and_documents_are_shown_as_they_are() -> None:
    """A source, an id and a document that look like markup are read, not obeyed; a source without rules says so."""
    page = Tags(filter_report._page(SOURCES))
    assert "script" not in page.seen
    assert page.words.count(NAME) == 3  # its row, its heading, the quote
    assert {f"49: {NAME}", "No rules: every document goes on as it came."} <= set(page.words)
    assert "10 of 14 documents and 100 of 140 bytes of text go on." in page.words
