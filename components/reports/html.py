"""HTML reports of stages: one small file without scripts or anything fetched, for browsers and Kubeflow's page alike.

Functions return pieces of markup, and take pieces and plain text. Plain text is always escaped, because reports quote
documents and documents hold markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from .figures import number
from .templates import piece

QUOTE_CHARACTERS = 600

Piece = Markup
"""Markup that a function of ``html`` or ``charts`` made. Any other string is text, and is escaped where it is put."""


def page(title: str, summary: str, *parts: Piece) -> str:
    """A whole file.

    Args:
        title: The report's name.
        summary: One sentence with the figures that matter.
        parts: The pieces, in order.
    """
    return str(piece("page", title, summary, parts))


def section(title: str, *parts: Piece) -> Piece:
    """Pieces under a heading."""
    return piece("section", title, parts)


def subsection(title: str, *parts: Piece) -> Piece:
    """Pieces under a smaller heading."""
    return piece("subsection", title, parts)


def folded(title: str, *parts: Piece) -> Piece:
    """Pieces that show when their title is clicked."""
    return piece("folded", title, parts)


def paragraph(text: str) -> Piece:
    """A paragraph of plain text."""
    return piece("paragraph", text)


def warning(text: str) -> Piece:
    """A paragraph that nobody should overlook."""
    return piece("warning", text)


def table(headers: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> Piece:
    """A table; numbers are aligned to the right and grouped.

    Args:
        headers: Names of the columns.
        rows: Texts, numbers or None for an empty cell, as many as headers.
    """
    body = [list(row) for row in rows]
    is_number = [
        any(isinstance(row[at], int | float) for row in body)
        and not any(isinstance(row[at], str) for row in body)
        for at in range(len(headers))
    ]
    cells = [[value if isinstance(value, str) else number(value) for value in row] for row in body]
    if any(len(row) != len(headers) for row in cells):
        raise ValueError(f"got rows of other lengths, expected {len(headers)} cells in each")
    return piece("table", headers, cells, is_number)


def quote(text: str, span: tuple[int, int] | None = None, limit: int = QUOTE_CHARACTERS) -> Piece:
    """A stretch of a document.

    Args:
        text: The document's text, or part of it.
        span: First and last (exclusive) character of what to mark; what is quoted is then taken around it.
        limit: Most characters to quote.
    """
    if span is None:
        return piece("quote", text[:limit] + ("…" if len(text) > limit else ""), None, "")
    begin, end = span
    margin = max((limit - (end - begin)) // 2, 0)
    first, last = max(begin - margin, 0), min(max(end, begin) + margin, len(text))
    end = min(end, begin + limit)
    before = ("…" if first else "") + text[first:begin]
    return piece("quote", before, text[begin:end], text[end:last] + ("…" if last < len(text) else ""))
