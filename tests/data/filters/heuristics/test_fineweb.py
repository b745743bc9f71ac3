"""FineWeb's values against a plain reading of the rules over Python strings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.filters.heuristics import fineweb
from millrace.data.text.batch import from_texts

LINES = st.lists(st.text(st.sampled_from("ab.!。।é \t\r\u3000"), max_size=8), max_size=8)


def reference(text: str) -> dict[str, float]:
    lines = [line for line in text.split("\n") if line.strip()]
    again = [line for index, line in enumerate(lines) if line in lines[:index]]
    return {
        "lines": len(lines),
        "punctuated_line_fraction": sum(line.endswith(tuple(".!。।")) for line in lines) / max(len(lines), 1),
        "short_line_fraction": sum(len(line) <= 4 for line in lines) / max(len(lines), 1),
        "duplicate_line_character_fraction": sum(map(len, again)) / max(len(text.replace("\n", "")), 1),
        "newlines_per_word": text.count("\n") / max(len(text.split()), 1),
    }


@settings(deadline=None)  # the first call compiles
@given(st.lists(LINES.map("\n".join), max_size=4))
def test_the_values_are_those_of_the_definitions(texts: list[str]) -> None:
    values = fineweb.measure(from_texts(texts), short_line_characters=4)
    for index, text in enumerate(texts):
        assert {name: values[name][index] for name in values} == pytest.approx(reference(text))
