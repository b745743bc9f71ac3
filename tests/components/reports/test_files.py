"""JSON files have the same bytes for the same value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.reports.files import write_json

VALUES = st.integers() | st.floats(allow_nan=False) | st.lists(st.text('aé"\u2028'), max_size=3)


@given(st.dictionaries(st.text("abcé", max_size=3), VALUES, max_size=5), st.booleans())
def test_a_value_comes_back_and_the_order_of_names_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object], ascii: bool
) -> None:
    """Reading gives the value again, and a dictionary filled the other way round gives the same bytes."""
    one, two = (tmp_path_factory.mktemp("json") / name for name in "ab")
    write_json(one, value, ascii=ascii)
    write_json(two, dict(reversed(value.items())), ascii=ascii)
    assert json.loads(one.read_bytes()) == value
    assert one.read_bytes() == two.read_bytes()


def test_order_and_characters_are_kept_where_asked(tmp_path: Path) -> None:
    """Names stay in their order and other letters as they are; without asking they are sorted and escaped."""
    write_json(tmp_path / "a", {"b": "é", "a": 1}, ascii=False, keep_order=True)
    assert (tmp_path / "a").read_text("utf-8") == '{\n "b": "é",\n "a": 1\n}\n'
    write_json(tmp_path / "a", {"b": "é", "a": 1})
    assert (tmp_path / "a").read_text("ascii") == '{\n "a": 1,\n "b": "\\u00e9"\n}\n'
