"""JSON Lines are read as one value to a line, with their places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.examples import json_lines


@given(st.lists(st.text(st.sampled_from("a\r\n\v\f\x1c\x85\u2028\u2029 é"))))
def test_any_texts_come_back_with_their_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    """Only a newline ends a line, whatever ends of lines the texts hold."""
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_bytes("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts).encode())
    assert list(json_lines.rows(path)) == [(f"a.jsonl:{line}", text) for line, text in enumerate(texts, 1)]


def test_empty_lines_count_and_are_no_rows(tmp_path: Path) -> None:
    """An empty line is passed over, the next has its number in the file, and the last needs no newline."""
    (tmp_path / "a.jsonl").write_bytes(b'1\n\n  \r\n{"b": 2}\r\n3')
    assert list(json_lines.rows(tmp_path / "a.jsonl")) == [
        ("a.jsonl:1", 1),
        ("a.jsonl:4", {"b": 2}),
        ("a.jsonl:5", 3),
    ]


@pytest.mark.parametrize("line", [b"{", b'"\xff"', b"'a'"])
def test_what_is_no_json_is_named_with_its_place(tmp_path: Path, line: bytes) -> None:
    """A torn line, bytes that are no UTF-8 and Python's quotes end the reading at their line."""
    (tmp_path / "a.jsonl").write_bytes(b"1\n" + line + b"\n")
    with pytest.raises(ValueError, match=r"a\.jsonl:2: got no JSON"):
        list(json_lines.rows(tmp_path / "a.jsonl"))
