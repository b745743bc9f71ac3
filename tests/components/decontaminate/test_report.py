"""The page of ``decontaminate``: benchmarks, sources and spans are text."""

from __future__ import annotations

from tests.pages import Tags

from millrace.components.decontaminate import report as contamination_report

NAME = "<script>a&amp;b"  # shown as it stands here

HIT = {"example": NAME, "question": 0.9, "answer": 1.0, "source": NAME, "uri": "u", "span": NAME}
ENTRY = {
    "examples": 10,
    "clean": 7,
    "partly": 2,
    "fully": 1,
    "contaminated": 3,
    "share": 0.3,
    "too_short": 0,
    "too_common": 0,
    "documents": 4,
    "documents_by_source": {NAME: 4},
    "hits": [HIT],
}
REPORT = {
    "benchmarks": {NAME: ENTRY},
    "rule": {"max_document_frequency": 0.01},
    "self_test": {
        "examples": 4,
        "checkable": 4,
        "recall": 0.75,
        "found": {"as_it_is": 3, "shuffled": 0},
        "found_checkable": {"as_it_is": 3, "shuffled": 0},
        "unplanted": 4,
        "unplanted_flagged": 0,
    },
    "common": {
        "sampled_documents": 9,
        "triples": 1,
        "most_common": [{"text": NAME, "documents": 1, "examples": 1}],
    },
}


def test_names_and_spans_are_shown_as_they_are() -> None:
    """A benchmark, a source and a contaminated span that look like markup are read, not obeyed."""
    page = Tags(contamination_report._html(REPORT))
    assert "script" not in page.seen
    assert page.words.count(NAME) == 3  # the benchmark's row, the quote, the common words
    assert {f"{NAME} 4", f"{NAME}: u", f"Found of {NAME}", f"{NAME}: question 90%, answer 100%"} <= set(
        page.words
    )
    assert "3 of 10 benchmark examples were in the corpus. Of planted copies 75.0% were found." in page.words
