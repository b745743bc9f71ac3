"""HTML reports are well-formed, self-contained, and never let a document's markup through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pages import Tags

from millrace.components.reports import charts, html


def full_page(text: str) -> str:
    """A page with the text in every place that takes one."""
    return html.page(
        text,
        text,
        html.section(
            text, html.paragraph(text), html.warning(text), html.quote(text), html.quote(text, (1, 3))
        ),
        html.subsection(text, html.folded(text, charts.bars({text: 2.0}, text))),
        html.table([text, "figure"], [[text, 1], [text, None]]),
        charts.grouped_bars({text: {text: 1.0, "other": 2.0}}, text),
        charts.scatter([(1.0, 2.0)], {text: (1.0, 1.0, 0.1)}, text, (text, text)),
        charts.histogram([1, 2], [0.0, 1.0, 2.0], text, minimum=0.5, maximum=1.5),
        charts.lines({text: [(0, 1.0), (1, 2.0)]}, text),
        charts.lines({text: []}, text),
    )


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_no_text_becomes_markup(text: str) -> None:
    """A page has the same elements whatever texts it holds, each closed in its order."""
    assert Tags(full_page(text)).seen == Tags(full_page("plain")).seen
    assert not Tags(full_page(text)).open


@pytest.mark.parametrize("name", ["<script>", "a&amp;b", "\"'><b>", "{{ 1 }}"])
def test_a_name_reads_as_it_is_wherever_a_page_shows_it(name: str) -> None:
    """A browser shows the name itself in each of its places, neither as an element nor escaped twice."""
    plain = [word for word in Tags(full_page("plain")).words if "plain" in word]
    assert len(plain) > 20
    assert [word.replace("plain", name) for word in plain if word.startswith("plain")] == [
        word for word in Tags(full_page(name)).words if word.startswith(name)
    ]


def test_a_string_among_the_pieces_is_text() -> None:
    """Only what a template made is markup: a string given in its place is shown, not obeyed."""
    for put in (html.section, html.subsection, html.folded):
        assert "script" not in Tags(str(put("title", "<script>"))).seen  # type: ignore[arg-type]
    assert "script" not in Tags(html.page("title", "", "<script>")).seen  # type: ignore[arg-type]


def test_a_row_of_another_length_is_refused() -> None:
    """A cell too many would stand under no header."""
    with pytest.raises(ValueError, match="expected 1 cells"):
        html.table(["a"], [["b", "c"]])


def test_a_page_fetches_nothing() -> None:
    made = full_page("http://example.org/a.png")
    assert 'src="' not in made
    assert 'href="' not in made
    assert "url(" not in made


def test_a_quote_shows_what_is_marked_within_its_limit() -> None:
    text = "a" * 500 + "MATCH" + "b" * 500
    made = html.quote(text, (500, 505), limit=25)
    assert "<blockquote>…aaaaaaaaaa<mark>MATCH</mark>bbbbbbbbbb…</blockquote>" in made
