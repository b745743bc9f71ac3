"""Differences of JSON values: none between equals, and every one named by its path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.plan.differences import SHOWN, differences

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(VALUES, VALUES)
def test_there_are_lines_exactly_where_the_values_differ(old: Any, new: Any) -> None:
    assert not list(differences(old, old))
    assert bool(list(differences(old, new))) == (old != new)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers()),
    st.dictionaries(st.sampled_from("abcdef"), st.integers()),
)
def test_of_flat_values_there_is_a_line_for_each_key(old: dict[str, int], new: dict[str, int]) -> None:
    expected = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    assert {line.split()[0] for line in differences(old, new)} == expected


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b 1 -> 2"]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["a[1].b 2 -> 3"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a [1] -> [1, 2]"]),
        ({"a": 1}, {"b": "x"}, ["a removed (1)", "b added ('x')"]),
        (1, 2, ["1 -> 2"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a {'b': 1} -> 1"]),
    ],
)
def test_a_line_names_the_path_and_both_values(old: Any, new: Any, lines: list[str]) -> None:
    assert list(differences(old, new)) == lines


def test_long_values_are_cut() -> None:
    (line,) = differences({"a": "x" * 500}, {"a": "y"})
    assert len(line) == len("a  -> 'y'") + SHOWN
    assert "... -> 'y'" in line
