"""Columns become the documents that Python makes of their rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.sources.records import Batch, Malformed, Options, Record, Where
from millrace.data.sources.tables import columns

SPACES = st.text(
    st.sampled_from(" \n\x0b\x1c\x85\xa0\u1680\u2000\u200a\u200b\u2028\u202f\u205f\u3000\ufeffa"), max_size=4
)


@given(st.lists(SPACES | st.text(max_size=3), max_size=6), st.integers(0, 3))
def test_a_blank_text_is_what_strip_leaves_empty(texts: list[str], first: int) -> None:
    array = pa.array(texts, pa.large_string())[first:]
    assert columns.blank(array).tolist() == [not text.strip() for text in texts[first:]]


@pytest.mark.parametrize(
    "values",
    [
        ["plain", None, 'q"', "\\", "é", "\n", "\x7f", ""],
        ["only", "plain"],
        [1, -5, None],
        [True, False, None],
        [None, None],
    ],
)
def test_values_are_written_as_json_writes_them(values: list[Any]) -> None:
    found = columns.json_values(pa.array(values))
    assert found is not None
    assert found.to_pylist() == [None if value is None else json.dumps(value) for value in values]


def test_other_types_need_a_look() -> None:
    assert columns.json_values(pa.array([1.5])) is None
    assert columns.json_values(pa.array([["a"]])) is None


def test_bytes_that_are_no_text_are_seen() -> None:
    bad = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    assert columns.is_utf8(pa.array(["é"]))
    assert not columns.is_utf8(bad)


@pytest.mark.parametrize("default", [None, "CC0"])
def test_records_stand_where_they_were_among_rows(default: str | None) -> None:
    """Malformed records come first; languages and licences of those that name none are the default."""
    rows = columns.Rows(
        np.array([0, 3]),
        pa.array(["0", "30"]),
        pa.array(["zero", "three"], pa.large_string()),
        pa.array(["a", "b"]),
        pa.array(["fr", None]),
        {"score": pa.array(["1", None]), "license": pa.array([None, '"MIT"'])},
    )
    record = Record("u", "20", "id=c", "two", "en", {"z": 1, "a": "é"})
    others: list[tuple[int, Record | Malformed]] = [(2, record), (1, Malformed("u", "10", "bad", 3))]
    options = Options(default_language="de", default_license=default)
    bad, batch = columns.items_of(Where("u", "u", 0), options, rows, others)
    assert isinstance(bad, Malformed)
    assert isinstance(batch, Batch)
    assert batch.texts.to_pylist() == ["zero", "two", "three"]
    assert batch.locators.to_pylist() == ["0", "20", "30"]
    assert batch.keys is not None
    assert batch.keys.to_pylist() == ["id=a", "id=c", "id=b"]
    assert batch.lang.to_pylist() == ["fr", "en", "de"]
    own = {"license": default} if default else {}
    assert [json.loads(one) for one in batch.metadata.to_pylist()] == [
        {**own, "score": 1},
        {"a": "é", "z": 1},
        {"license": "MIT"},
    ]


def test_nothing_makes_no_batch() -> None:
    texts = pa.array([], pa.large_string())
    rows = columns.Rows(np.zeros(0, np.int64), pa.array([], pa.string()), texts, None, None, {})
    assert list(columns.items_of(Where("u", "u", 0), Options(), rows, [])) == []


VALUES = st.lists(st.none() | st.integers(0, 9), min_size=4, max_size=4)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "license"]), VALUES, max_size=3), st.none() | st.just("MIT")
)
def test_metadata_has_what_each_row_has_whatever_the_others_lack(
    values: dict[str, list[int | None]], default: str | None
) -> None:
    """Also where a row has nothing at all, which Arrow's join leaves out."""
    given_values = {name: columns.json_values(pa.array(own, pa.int64())) for name, own in values.items()}
    found = columns._objects(given_values, default, 4)
    rows = [found] * 4 if isinstance(found, str) else found.to_pylist()
    for row, text in enumerate(rows):
        expected: dict[str, object] = {name: own[row] for name, own in values.items() if own[row] is not None}
        if default is not None:
            expected.setdefault("license", default)
        assert text == json.dumps(expected, sort_keys=True)
