"""The page of ``dedup_spans``: names and quotes are text."""

from __future__ import annotations

from tests.pages import Tags

from millrace.components.dedup_spans import report as spans_report

NAME = "<script>a&amp;b"  # shown as it stands here

CUT = {"occurrences": 3, "bytes": 9, "method": "lines", "quote": NAME, "uri": NAME, "first_uri": NAME}
REPORT = {
    "spans_cut": 4,
    "bytes_cut": 36,
    "cut_fraction": 0.25,
    "documents_cut": 2,
    "sources": {
        NAME: {
            "documents": 2,
            "documents_cut": 2,
            "documents_dropped": 0,
            "bytes": 144,
            "bytes_cut": 36,
            "bytes_cut_by": [["lines", 36]],
        }
    },
    "methods": [{"method": "lines", "spans_cut": 4, "most_repeated": [CUT]}],
    "longest": [CUT],
    "cut_fraction_histogram": [1] * spans_report.FRACTION_BINS,
}


def test_names_and_quotes_are_shown_as_they_are() -> None:
    """A source, an address and a quoted text that look like markup are read, not obeyed, in each table."""
    page = Tags(spans_report._html(REPORT))
    assert "script" not in page.seen
    assert page.words.count(NAME) == 1 + 2 + 3
    assert "4 spans, 36 bytes (25.00%), were cut from 2 documents." in page.words
