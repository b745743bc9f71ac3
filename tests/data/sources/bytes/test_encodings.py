"""Encodings that are marked, named or found, whatever the format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corrupting import FORMATS, read_file, texts
from tests.data.sources.reading import contents

from millrace.data.sources import files
from millrace.data.sources.bytes import encodings
from millrace.data.sources.records import Options, Record

PROSE = "Sie sagte, daß es für ihn zu spät sei, und ging über die Straße zurück nach Köln. " * 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("suffix", [".txt", ".json", ".jsonl", ".csv"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, suffix: str, encoding: str) -> None:
    document = texts(1)[:1] if suffix == ".txt" else texts(1)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(FORMATS[suffix](document).decode().encode(encoding))
    assert read_file(path) == (document, [])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
@pytest.mark.parametrize("suffix", [".txt", ".json", ".jsonl", ".csv"])
def test_an_encoding_can_be_named(tmp_path: Path, suffix: str, encoding: str) -> None:
    rows = [{"text": PROSE.strip()}, {"text": "naïve"}]
    written = {
        ".txt": PROSE,
        ".json": json.dumps(rows, ensure_ascii=False),
        ".jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        ".csv": 'text\n"' + rows[0]["text"] + '"\nnaïve\n',
    }
    (tmp_path / f"a{suffix}").write_bytes(written[suffix].encode(encoding))
    expected = [PROSE] if suffix == ".txt" else [row["text"] for row in rows]
    assert contents(tmp_path / f"a{suffix}", encoding=encoding) == (expected, [])


@pytest.mark.parametrize(
    ("text", "encoding"), [(PROSE, "latin-1"), ("Он сказал, что уже поздно. " * 30, "cp1251")]
)
def test_the_encoding_of_a_text_is_found_and_stands_in_its_metadata(
    tmp_path: Path, text: str, encoding: str
) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    ((record,),) = [list(files.read(part)) for part in files.plan([str(tmp_path / "a.txt")], Options())]
    assert isinstance(record, Record)
    assert record.text == text
    assert record.metadata["encoding"]


def test_utf8_with_a_wrong_byte_is_damaged_and_no_other_encoding(tmp_path: Path) -> None:
    data = bytearray(PROSE.encode())
    data[100] = 0xFF
    (tmp_path / "a.txt").write_bytes(data)
    found, (problem,) = contents(tmp_path / "a.txt")
    assert not found
    assert "got invalid UTF-8" in problem


@given(st.text(max_size=60), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_a_marked_text_comes_back_but_for_its_line_ends(text: str, encoding: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    assert encodings.decode(lines.encode(encoding), "auto").text == lines
