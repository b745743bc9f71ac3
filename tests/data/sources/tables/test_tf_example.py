"""Serialised examples against their wire format, written by hand."""

from __future__ import annotations

import struct

import pytest

from millrace.data.sources.tables.tf_example import example_values


def field(number: int, payload: bytes) -> bytes:
    """A field with a length before it, below 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def feature(name: str, value: bytes) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value))


def many(*values: bytes) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


EXAMPLE = field(
    1,
    feature("text", many("é".encode()))
    + feature("words", many(b"a", b"b"))
    + feature("n", field(3, field(1, bytes([5]))))
    + feature("x", field(2, field(1, struct.pack("<ff", 0.5, 2.0))))
    + feature("none", many())
    + feature("bad", many(b"\xff")),
)


def test_wanted_features_are_values_or_lists_of_them() -> None:
    found = example_values(EXAMPLE, ["text", "words", "n", "x", "none", "absent"])
    assert found == {"text": "é", "words": ["a", "b"], "n": 5, "x": [0.5, 2.0], "none": None}


def test_an_example_with_none_of_them_gives_its_names() -> None:
    assert dict(example_values(EXAMPLE, ["absent"])) == dict.fromkeys(
        ["text", "words", "n", "x", "none", "bad"]
    )


@pytest.mark.parametrize(
    ("record", "problem"),
    [(b"\xff\xff", "no tf.train.Example"), (b"", "without features"), (EXAMPLE, "invalid UTF-8 .* 'bad'")],
)
def test_what_is_no_example_says_so(record: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        example_values(record, ["bad"])
