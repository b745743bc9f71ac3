"""Lengths against plain Python."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.filters import length
from millrace.data.text.batch import from_texts


@given(st.lists(st.text(st.sampled_from("ab é\t\n\r漢"), max_size=30), max_size=5))
def test_lengths_are_those_of_python(texts: list[str]) -> None:
    values = length.measure(from_texts(texts))
    for index, text in enumerate(texts):
        assert values["characters"][index] == len(text)
        assert values["bytes"][index] == len(text.encode())
        assert values["words"][index] == len(text.split())
        assert values["lines"][index] == len(text.removesuffix("\n").split("\n")) if text else True


def test_a_line_end_at_the_end_begins_no_line() -> None:
    assert length.measure(from_texts(["", "\n", "a", "a\n", "a\nb"]))["lines"].tolist() == [0, 1, 1, 1, 2]
