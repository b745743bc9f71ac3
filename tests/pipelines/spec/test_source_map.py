"""The spec language: a small YAML with a place for every value."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.spec.source_map import Source, SpecError, parse, parse_value

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS.filter(lambda word: word != "<<"), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def as_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def mistakes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, "f")
    return list(map(str, caught.value.mistakes))


@given(JSON)
def test_json_is_part_of_the_language_and_reads_back_as_itself(value: Any) -> None:
    assert parse(json.dumps(value, ensure_ascii=False), "f").data == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=1), "f").data == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1.", 1.0), (".5", 0.5), ("-2E+3", -2000.0), ("1_000", 1000), ("007", 7), ("+3", 3),
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("12:30", "12:30"), ("0x1F", "0x1F"), ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"), ("nan", "nan"), ("True", "True"), ("true", True), ("~", None), ("null", None), ("'12'", "12"),
        ('"true"', "true"), ("|\n  a\n  b", "a\nb"),
    ],
)  # fmt: skip
def test_a_scalar_is_what_it_looks_like(text: str, value: Any) -> None:
    got = parse(f"key: {text}", "f").data["key"]
    assert (got, type(got)) == (value, type(value))


def test_every_part_knows_its_line() -> None:
    source = parse("a:\n  b: 1\n  c:\n    - 2\n    - d: 3\n", "f")
    places = {
        path: source.where(path) for path in ((), ("a",), ("a", "b"), ("a", "c", 1, "d"), ("a", "nothing"))
    }
    assert list(places.values()) == ["f:1", "f:1", "f:2", "f:5", "f:1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", "f:3: a: the key stands twice, first in line 1"),
        ("a:\n  - &x 1", "f:2: a.0: anchors and aliases"),
        ("a: &x 1\nb: *x", "f:2: b: anchors and aliases"),
        ("a: {<<: {b: 1}}", "f:1: a: merge keys"),
        ("a: !!int 3", "f:1: a: the tag tag:yaml.org,2002:int"),
        ("a: !!python/object/apply:os.system [ls]", "f:1: a: the tag"),
        ("a: !mine 3", "f:1: a: the tag !mine"),
        ("a:\n\tb: 1", "f:2: not valid YAML: .* indent with blanks, not with a tab"),
        ("a: [1", "not valid YAML: did not find expected"),
        ("a: b: c", "f:1: not valid YAML: mapping values"),
        ("a: 1\n---\nb: 2", "f:2: a second document begins here"),
        ("{[1]: 2}", "f:1: a key must be a plain word"),
        ("", "f:1: the file is empty"),
        ("# nothing\n", "f:1: the file is empty"),
        ("a: b\n\nc: \x01", "f:3: not valid YAML: the character U\\+0001"),
        ("a: 1e999", "f:1: a: the number 1e999 is too large"),
        ("a: " + "9" * 10_000, "f:1: a: the number 999"),
        ("a: " + "[" * 100_000, "f:1: got more than 100 levels"),
        ("a: " + "{a: " * 200, "f:1: got more than 100 levels"),
    ],
    ids=range(19),
)  # fmt: skip
def test_what_the_language_leaves_out_is_one_mistake_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        parse(text, "f")


def test_all_mistakes_come_at_once() -> None:
    assert [line.split(":")[1] for line in mistakes("a: &x 1\nb: !t 2\nb: 3\nc: {<<: 1}\n")] == [
        "1",
        "2",
        "3",
        "4",
    ]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_never_crashes(text: str) -> None:
    with contextlib.suppress(SpecError):
        parse(text, "f")


@given(JSON.filter(lambda value: isinstance(value, dict)), JSON.filter(lambda value: isinstance(value, dict)))
def test_merging_lays_mappings_over_mappings_and_replaces_everything_else(base: Any, over: Any) -> None:
    def merge(low: Any, high: Any) -> Any:
        if isinstance(low, dict) and isinstance(high, dict):
            return {**low, **{key: merge(low.get(key), value) for key, value in high.items()}}
        return high if not isinstance(high, dict) else merge({}, high)

    merged = parse(as_text(base), "base").merged(parse(as_text(over), "over"))
    assert merged.data == merge(base, over)
    for key in merged.data:
        assert merged.where((key,)) == ("over:1" if key in over else "base:1")


def test_merging_forgets_the_places_of_what_was_replaced() -> None:
    merged = parse("a:\n  b:\n    c: 1", "f").merged(Source({"a": {"b": 5}}, {("a", "b"): "--set"}))
    assert merged.where(("a", "b", "c")) == "--set"


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("", ""), ("#", "#"), ("[1, a]", [1, "a"]), ("{a: 1}", {"a": 1})]
)
def test_a_setting_is_yaml(text: str, value: Any) -> None:
    assert parse_value(text, "--set") == value


def test_a_setting_that_is_not_yaml_names_the_option() -> None:
    with pytest.raises(SpecError, match=r"^--set a=\[: not valid YAML"):
        parse_value("[", "--set a=[")
