"""JSON Lines: ranges, bad lines and whole ones."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.corrupting import FORMATS, texts
from tests.data.sources.reading import problems, ranges, read, texts_of

from millrace.data.sources.formats.jsonl import lines_of
from millrace.data.sources.records import Columns, Malformed, Record


@given(st.integers(1, 6000), st.integers(0, 30), st.booleans())
def test_the_ranges_of_lines_are_the_whole_whatever_their_size(
    tmp_path_factory: pytest.TempPathFactory, size: int, count: int, ends: bool
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "a.jsonl"
    data = FORMATS[".jsonl"](texts(2, count + 1))
    path.write_bytes(data if ends else data[:-1])
    found, parts = ranges(path, size)
    assert found == texts(2, count + 1)
    assert parts >= len(data) // size / 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "\xff"}', "line 2: got invalid UTF-8"),
        (b"[1, 2]", "line 2: got a JSON array, expected an object"),
        (b"{text}", "line 2: got no JSON"),
        (b'{"body": "x"}', "line 2: got columns body, expected a text column 'text'"),
        (b'{"text": 7}', "line 2: got a JSON number in column 'text', expected a string"),
        (b'{"text": "\\ud800"}', "line 2: got a lone surrogate escape"),
        (
            b'{"text": "' + b"x" * 200 + b'"}',
            "line 2: got 212 bytes, expected at most max_document_bytes = 100",
        ),
        (b"[" * 90, "line 2: got no JSON"),
        (b'{"text": "  "}', "line 2: got no text"),
    ],
)
def test_a_bad_line_is_one_malformed_record_and_its_neighbours_survive(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    first = b'{"text": "one"}\n'
    (tmp_path / "a.jsonl").write_bytes(first + line + b'\n{"text": "three"}')
    found = read(tmp_path / "a.jsonl", max_document_bytes=100)
    assert texts_of(found) == ["one", "three"]
    ((locator, got),) = problems(found)
    assert got.startswith(problem)
    assert int(locator) in range(len(first), len(first) + len(line))


def test_a_record_without_the_id_is_malformed(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": 1}, {"text": "c"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read(tmp_path / "a.jsonl", columns=Columns(id="id"))
    assert texts_of(found) == ["a"]
    assert problems(found) == [("23", "line 2: got a JSON null in column 'id', expected an id")]


def test_a_single_line_of_200_mb_costs_no_more_memory_than_its_limit(tmp_path: Path) -> None:
    writer = zstandard.ZstdCompressor().compressobj()
    with (tmp_path / "a.jsonl.zst").open("wb") as stream:
        for _ in range(200):
            stream.write(writer.compress(b"x" * 2**20))
        stream.write(writer.compress(b'\n{"text": "after"}\n') + writer.flush())
    tracemalloc.start()
    found = read(tmp_path / "a.jsonl.zst", max_document_bytes=2**22, max_ratio=1e6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts_of(found) == ["after"]
    assert problems(found)[0][1].startswith("line 1: got 209715200 bytes")
    assert peak < 32 * 2**20  # the limit and some blocks


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(1, 7))
def test_lines_are_those_of_split_whatever_the_block_size(pieces: list[bytes], block_bytes: int) -> None:
    content = b"\n".join(pieces)

    class Trickle:
        def __init__(self) -> None:
            self.at = 0

        def read(self, size: int) -> bytes:
            self.at += block_bytes
            return content[self.at - block_bytes : self.at]

    expected = content.split(b"\n")
    expected = expected[:-1] if not expected[-1] else expected
    found = list(lines_of(Trickle(), 5))
    assert [line for _, _, line in found] == [line if len(line) <= 5 else None for line in expected]
    assert [content[start : start + size] for start, size, _ in found] == expected


@pytest.mark.parametrize("column", ["lang", "rights", "tag"])
def test_half_a_surrogate_pair_in_any_column_costs_only_its_line(tmp_path: Path, column: str) -> None:
    values = ["\ud83d", "\U0001f600", "\\ud83d", "é"]
    lines = [json.dumps({"text": "x", column: value}) for value in values]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    columns = Columns(language="lang", license="rights", metadata=("tag",))
    first, *others = read(tmp_path / "a.jsonl", columns=columns)
    assert isinstance(first, Malformed)
    assert first.problem == f"line 1: got a lone surrogate escape in column {column!r}, expected Unicode text"
    key = {"rights": "license", "tag": "tag"}.get(column)
    kept = [item for item in others if isinstance(item, Record)]
    assert [item.metadata[key] if key else item.lang for item in kept] == values[1:]
