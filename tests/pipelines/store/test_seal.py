"""Sealed files are plain JSON, and no changed byte of one goes unnoticed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.store.seal import seal, unseal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key not in ("seal", "format")), VALUES, max_size=4)


@given(OBJECTS)
def test_an_object_comes_back_in_its_order_and_any_tool_reads_the_file(value: dict[str, object]) -> None:
    assert list(unseal(seal(value)).items()) == list(value.items())
    assert json.loads(seal(value)).items() >= value.items()


@given(OBJECTS, st.data())
def test_a_flipped_bit_anywhere_is_noticed(value: dict[str, object], data: st.DataObject) -> None:
    written = bytearray(seal(value))
    bit = data.draw(st.integers(0, 8 * len(written) - 1))
    written[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"not JSON|changed after it was written"):
        unseal(bytes(written))


@given(OBJECTS, st.data())
def test_a_file_that_was_cut_is_noticed(value: dict[str, object], data: st.DataObject) -> None:
    written = seal(value)
    with pytest.raises(ValueError, match=r"empty|not JSON"):
        unseal(written[: data.draw(st.integers(0, len(written) - 1))])


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "empty"), (b"[]", "a JSON list"), (b"null", "a JSON NoneType"), (b"\xff", "not JSON")],
)
def test_what_is_no_object_is_named(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unseal(data)


def test_a_file_of_the_format_without_seals_is_read() -> None:
    assert unseal(b'{"format": 1, "key": "a"}') == {"key": "a"}
