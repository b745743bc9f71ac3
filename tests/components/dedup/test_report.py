"""The page of ``dedup``: sources, addresses and quotes are text."""

from __future__ import annotations

from tests.pages import Tags

from millrace.components.dedup import report as duplicates_report

NAME = "<script>a&amp;b"  # shown as it stands here

MEMBER = {"doc_id": "d", "uri": NAME, "source": NAME, "against": None, "similarity": 0.9, "text": NAME}
SOURCE = {"documents_in": 5, "documents_out": 3, "bytes_in": 50, "bytes_out": 30, "dropped": {"near": 2}}
REPORT = {
    "clusters": 1,
    "pairs_met": 3,
    "pairs_similar": 2,
    "sources": {NAME: SOURCE},
    "duplicates": {NAME: {NAME: 2}},
    "cluster_sizes": {"3 to 4": 1},
    "largest": [{"documents": 3, "survivor": MEMBER | {"similarity": None}, "samples": [MEMBER]}],
}


def test_names_and_quotes_are_shown_as_they_are() -> None:
    """A source, an address and a document that look like markup are read, not obeyed, in each place."""
    page = Tags(duplicates_report._page(REPORT))
    assert "script" not in page.seen
    assert page.words.count(NAME) == 1 + 2 + 2  # sources, the matrix, two quotes
    assert {f"{NAME}: {NAME} (d)", f"{NAME}: {NAME} (d), similarity 0.900"} <= set(page.words)
    assert any(
        word.startswith("2 of 5 documents were dropped as duplicates, from 1 clusters") for word in page.words
    )
