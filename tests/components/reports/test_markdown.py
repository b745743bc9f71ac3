"""A Markdown table keeps its shape whatever its cells hold."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from millrace.components.reports.markdown import table


@given(st.lists(st.lists(st.text("ab |\n\t\u2028-", max_size=5), min_size=3, max_size=3), max_size=4))
def test_every_row_is_a_line_of_as_many_cells(rows: list[list[str]]) -> None:
    """Splitting at bars that no backslash precedes gives the cells again, with single spaces for white space."""
    lines = table(["one", "t|o", "three"], rows)
    cells = [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
    ]
    wanted = [
        ["one", "t|o", "three"],
        ["---"] * 3,
        *([" ".join(cell.split()) for cell in row] for row in rows),
    ]
    assert cells == wanted
    assert all(len(line.splitlines()) == 1 for line in lines)
