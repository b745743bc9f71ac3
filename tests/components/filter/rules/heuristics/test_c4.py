"""The rule ``c4``: each of its switches decides on the lines that it names."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.components.filter.rule import Rows
from millrace.components.filter.rules.heuristics.c4 import C4
from millrace.data.text.batch import from_texts, to_arrow

LINE = "The wheel of the old mill turned."
OFF: dict[str, Any] = {
    "line_min_words": 0,
    "line_max_word_characters": 1000,
    "line_terminal_punctuation": False,
    "cut_javascript_lines": False,
    "cut_policy_lines": False,
    "cut_citations": False,
}


def left(text: str, **fields: Any) -> str:
    outcome = C4.model_validate({"rule": "c4", **OFF, **fields}).apply(Rows(from_texts([text])))
    assert outcome.edited is not None
    return str(to_arrow(outcome.edited.batch)[0])


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("line_min_words", 4, "Only three words."),
        ("line_max_word_characters", 9, "An extraordinary line of the mill."),
        ("line_terminal_punctuation", True, "It never came to an"),
        ("cut_javascript_lines", True, "Please turn on JavaScript to see the mill."),
        ("cut_policy_lines", True, "This mill uses cookies to keep you here."),
    ],
)
def test_a_switch_takes_its_lines_and_no_others(field: str, value: Any, line: str) -> None:
    text = f"{LINE}\n{line}\n{LINE}"
    assert left(text) == text
    assert left(text, **{field: value}) == f"{LINE}\n{LINE}"


def test_citations_are_cut_out_of_their_lines() -> None:
    text = "The wheel [1] of the mill[citation needed] turned."
    assert left(text) == text
    cut = left(text, cut_citations=True)
    assert "[" not in cut
    assert cut.split() == ["The", "wheel", "of", "the", "mill", "turned."]
