"""Templates escape what they are given, once, and nothing else makes markup."""

from __future__ import annotations

import html
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from millrace.components.reports import templates


@given(st.text("<>&\"'{}%#ab", max_size=20))
def test_text_is_escaped_once_and_markup_not_again(text: str) -> None:
    """A paragraph reads back as its text, with quotes named; a piece put into another stays as it is."""
    piece = templates.piece("paragraph", text)
    assert piece == f"<p>{html.escape(text)}</p>\n"
    assert templates.piece("section", "title", [piece]) == f"<h2>title</h2>\n{piece}"
    assert isinstance(piece, Markup)


def test_nothing_but_templates_declares_markup() -> None:
    """Among the components a string becomes markup in one file, so that no report can let one through."""
    folder = Path(templates.__file__).resolve().parents[1]
    found = {file.name for file in folder.rglob("*.py") if re.search(r"\bMarkup\(", file.read_text("utf-8"))}
    assert found == {"templates.py"}
