"""Tables in Markdown, as GitHub, the Hub and Kubeflow show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table.

    A cell stays one cell whatever it holds: white space becomes single spaces, and a bar does not end it.

    Args:
        headers: Names of the columns.
        rows: Cells, as many as headers in each.
    """
    return [_row(headers), _row(["---"] * len(headers)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
