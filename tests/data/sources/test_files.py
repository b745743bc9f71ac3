"""A user's files: every format reads the same, and every kind of damage is one clear record."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.sources import files
from millrace.data.sources.formats.jsonl import lines_of
from millrace.data.sources.records import (
    PART_BYTES,
    Batch,
    Columns,
    Malformed,
    Options,
    Record,
    SourceError,
)

ROWS = [{"text": f"Text number {index} — é", "key": f"k{index}", "lang": "fr"} for index in range(5)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def read(pattern: Path | str, **options: Any) -> list[Record | Malformed]:
    found = (item for part in files.plan([str(pattern)], Options(**options)) for item in files.read(part))
    return [record for item in found for record in (records_of(item) if isinstance(item, Batch) else [item])]


def records_of(batch: Batch) -> list[Record]:
    """A batch's rows as records."""

    def column(values: Any) -> list[str]:
        return [values] * len(batch.texts) if isinstance(values, str) else values.to_pylist()

    locators = column(batch.locators)
    keys = locators if batch.keys is None else column(batch.keys)
    rows = zip(locators, keys, column(batch.texts), column(batch.lang), column(batch.metadata), strict=True)
    return [
        Record(batch.uri, locator, key, text, lang, json.loads(metadata))
        for locator, key, text, lang, metadata in rows
    ]


def problems(found: Sequence[Record | Malformed]) -> list[tuple[str, str]]:
    return [(record.locator, record.problem) for record in found if isinstance(record, Malformed)]


def texts(found: Sequence[Record | Malformed]) -> list[str]:
    return [record.text for record in found if isinstance(record, Record)]


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(LINES),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "a.jsonl.zst": lambda path: path.write_bytes(
        zstandard.compress(LINES[:70]) + zstandard.compress(LINES[70:])
    ),
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_texts_ids_and_languages(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    columns = Columns(id="key", language="lang")
    found = read(tmp_path / name, columns=columns)
    assert texts(found) == [row["text"] for row in ROWS]
    assert [record.key for record in found if isinstance(record, Record)] == [
        f"id={row['key']}" for row in ROWS
    ]
    assert {record.lang for record in found if isinstance(record, Record)} == {"fr"}


def test_text_files_are_one_document_each_in_sorted_order_and_keep_relative_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.md", "a.txt", "c/d.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"\xef\xbb\xbfline\r\n" + name.encode())
    found = read("**/*.*")
    assert [record.uri for record in found] == ["a.txt", "b.md", "c/d.txt"]
    assert texts(found)[0] == "line\na.txt"


def test_remote_files_are_read_through_fsspec() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/a.jsonl", LINES)
    assert texts(read("memory://corpus/*.jsonl")) == [row["text"] for row in ROWS]
    assert files.fingerprint(["memory://corpus/*.jsonl"])[0][:2] == ("memory:///corpus/a.jsonl", len(LINES))


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
    assert texts(found) == ["one", "three"]
    ((locator, got),) = problems(found)
    assert got.startswith(problem)
    assert int(locator) in range(len(first), len(first) + len(line))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_truncated_stream_keeps_whole_lines_and_is_one_malformed_record(tmp_path: Path, name: str) -> None:
    rows = [json.dumps({"text": f"{index} {hash_like(index)}"}) for index in range(200_000)]
    packed = "\n".join(rows).encode()
    packed = gzip.compress(packed, 1) if name.endswith("gz") else zstandard.compress(packed)
    (tmp_path / name).write_bytes(packed[: len(packed) * 3 // 4])
    found = read(tmp_path / name)
    assert 10_000 < len(texts(found)) < 200_000
    ((_, problem),) = problems(found)
    assert problem.startswith("got a truncated or corrupt")


def hash_like(index: int) -> int:
    return index * 2654435761 % 2**32


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("a.jsonl.gz", b"not gzip at all"),
        ("a.jsonl.zst", b"not zstd at all"),
        ("a.parquet", b"PAR1 not parquet"),
        ("a.txt", b"\xff\xfe\xfa"),
        ("a.txt", b"x" * 2000),
    ],
)
def test_a_file_that_cannot_be_read_is_one_malformed_record(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name, max_document_bytes=1000)
    assert len(found) == 1
    assert isinstance(found[0], Malformed)
    assert "expected" in found[0].problem or "Parquet" in found[0].problem


def test_a_corrupt_parquet_page_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"text {hash_like(index)}" for index in range(20_000)]})
    pq.write_table(table, path, row_group_size=5000, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 500] = b"\0" * 500
    path.write_bytes(content)
    found = read(path)
    assert len(texts(found)) >= 5000
    assert len(problems(found)) == 1


def test_invalid_utf8_in_a_parquet_string_costs_only_its_row(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"\xff", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert texts(found) == ["good", "fine"]
    assert problems(found)[0][0] == "1"


def test_a_file_without_the_text_column_or_with_another_type_is_malformed_and_says_what_there_is(
    tmp_path: Path,
) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("body,key\nx,1\n")
    found = [problem for _, problem in problems(read(tmp_path / "*"))]
    assert "got columns body in" in found[0]
    assert "got type int64" in found[1]
    assert "got columns body, key in" in found[2]
    assert all("expected" in problem for problem in found)


def test_a_record_without_the_id_is_malformed(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": 1}, {"text": "c"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read(tmp_path / "a.jsonl", columns=Columns(id="id"))
    assert texts(found) == ["a"]
    assert problems(found) == [("23", "line 2: got a JSON null in column 'id', expected an id")]


def test_a_pattern_that_matches_nothing_fails_and_a_folder_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="matches no file"):
        read(tmp_path / "*.jsonl")
    with pytest.raises(SourceError, match=r"it is a folder: write .*\*\*"):
        read(tmp_path)


def test_an_unknown_format_fails_and_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"\.jsonl, .*\.parquet"):
        read(tmp_path / "*")


def test_small_files_are_read_together_and_parts_do_not_depend_on_anything_else(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / f"{index}.txt").write_bytes(b"x" * (PART_BYTES // 2 - 1))
    parts = files.plan([str(tmp_path / "*.txt"), str(tmp_path / "0*")])
    assert [len(part.files) for part in parts] == [2, 2, 1]


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
    assert texts(found) == ["after"]
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
