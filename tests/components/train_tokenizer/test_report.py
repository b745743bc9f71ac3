"""The page of ``train_tokenizer``: pieces and languages are text."""

from __future__ import annotations

from tests.pages import Tags

from millrace.components.train_tokenizer import report as tokenizer_report

NAME = "<script>a&amp;b"  # shown as it stands here

FERTILITY = dict.fromkeys(tokenizer_report.FIGURES, 0.5)
PIECE = {"piece": NAME, "id": 300, "count": 7}
REPORT = {
    "algorithm": "bpe",
    "vocab_size": 1000,
    "special": [NAME],
    "sample": [{"source": NAME, "language": NAME, "documents": 2, "bytes": 30}],
    "sources": {NAME: FERTILITY},
    "languages": {NAME: FERTILITY, "fine": FERTILITY | {"bytes_per_token": 4.0}},
    "sizes": [{"vocab_size": 1000, "bytes_per_token": 3.2, "sources": {NAME: 3.2}}],
    "pieces": {"unused_share": 0.1, "most_used": [PIECE], "longest": [PIECE]},
}


def test_names_and_pieces_are_shown_as_they_are() -> None:
    """A source, a language and a piece that look like markup are read, not obeyed; the costliest language is first."""
    page = Tags(tokenizer_report._page(REPORT))
    assert "script" not in page.seen
    assert page.words.count(NAME) == 1 + 1 + 1 + 2 + 2
    assert f"Control tokens: {NAME}" in page.words
    rows = page.words[page.words.index("language") :]
    assert rows.index(NAME) < rows.index("fine")
    assert "bpe, 1,000 ids, 3.200 bytes per token as the sample is mixed" in page.words
