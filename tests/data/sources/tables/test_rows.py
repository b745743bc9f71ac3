"""A row with named values is a record, or says what is wrong with it."""

from __future__ import annotations

import json
import math
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.sources.records import Columns, Malformed, Options, Record, Where
from millrace.data.sources.tables.rows import is_unicode, json_value, kind_of, metadata_of, record_of

WHERE = Where("a.json", "a.json", 10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
COLUMNS = Columns(text="body", id="key", language="tongue", license="rights", metadata=("score", "tags"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": "x"}, "got columns text, expected a text column 'body'"),
        ({"body": ["x"]}, "got a JSON array in column 'body', expected a string"),
        ({"body": None}, "got a JSON null in column 'body'"),
        ({"body": " \n", "key": "k"}, "got no text"),
        ({"body": "\ud800", "key": "k"}, "got a lone surrogate escape"),
        ({"body": "x", "key": "\udfff"}, "got a lone surrogate escape"),
        ({"body": "x", "key": 1.5}, "got a JSON number in column 'key', expected an id"),
        ({"body": "x"}, "got a JSON null in column 'key', expected an id"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row: dict[str, Any], problem: str) -> None:
    item = record_of(row, WHERE, Options(columns=COLUMNS), "7", "line 2: ", 10)
    assert isinstance(item, Malformed)
    assert item.problem.startswith(f"line 2: {problem}")
    assert (item.locator, item.size_bytes) == ("7", 10)
    assert item.rule == ("empty" if "no text" in problem else "malformed")


def test_columns_become_the_parts_of_a_record() -> None:
    row = {"body": "x", "key": 12, "tongue": "fr", "rights": "MIT", "score": 2.5, "tags": ["a"], "other": 1}
    item = record_of(row, WHERE, Options(columns=COLUMNS), "7", "", 10)
    metadata = {"score": 2.5, "tags": ["a"], "license": "MIT", "id": 12}
    assert item == Record("a.json", "7", "id=12", "x", "fr", metadata)


def test_what_a_row_does_not_say_is_the_default() -> None:
    """Its place is its key when no column is an id."""
    options = Options(columns=Columns(language="tongue"), default_language="de", default_license="CC0")
    item = record_of({"text": "x", "tongue": ""}, WHERE, options, "7", "", 10)
    assert item == Record("a.json", "7", "7", "x", "de", {"license": "CC0"})
    assert metadata_of(
        {"license": "MIT"}, Options(columns=Columns(metadata=("license",)), default_license="CC0")
    ) == {"license": "MIT"}


@given(JSON)
def test_json_in_gives_the_same_json_out(value: Any) -> None:
    assert json.dumps(json_value(value)) == json.dumps(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, "nan"),
        ([math.inf], ["inf"]),
        (date(2026, 1, 2), "2026-01-02"),
        ((1, Decimal("1.50")), [1, "1.50"]),
    ],
)
def test_a_value_that_json_lacks_becomes_its_text(value: object, written: object) -> None:
    assert json_value(value) == written


def test_metadata_nested_too_deep_make_their_record_malformed() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    item = record_of({"body": "x", "key": 1, "tags": value}, WHERE, Options(columns=COLUMNS), "7", "", 10)
    assert isinstance(item, Malformed)
    assert item.problem == "got metadata nested too deep, expected at most some hundred levels"


def test_values_have_the_names_of_json() -> None:
    values = [True, 1, 1.5, "", [], {}, None]
    kinds = ["boolean", "number", "number", "string", "array", "object", "null"]
    assert [kind_of(value) for value in values] == kinds
    assert [is_unicode(text) for text in ("a", "é\U0001f600", "\ud83d")] == [True, True, False]


@pytest.mark.parametrize("value", ["\ud83d", ["\ud83d"], {"a": {"\ud83d": 1}}])
@pytest.mark.parametrize("column", ["tongue", "rights", "score", "tags"])
def test_half_a_surrogate_pair_in_any_column_that_is_taken_is_named(column: str, value: object) -> None:
    item = record_of({"body": "x", "key": 1, column: value}, WHERE, Options(columns=COLUMNS), "7", "", 10)
    assert isinstance(item, Malformed)
    assert item.problem == f"got a lone surrogate escape in column {column!r}, expected Unicode text"


def test_a_value_nested_deeper_than_python_calls_is_looked_through() -> None:
    value: object = "\ud800"
    for _ in range(100_000):
        value = [value]
    assert not is_unicode(value)
