"""A user's files: every format reads the same, and every kind of damage is one clear record."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tests.data.sources.reading import problems, read, texts_of

from millrace.data.sources import files
from millrace.data.sources.records import (
    PART_BYTES,
    Columns,
    Malformed,
    Record,
    SourceError,
)

ROWS = [{"text": f"Text number {index} — é", "key": f"k{index}", "lang": "fr"} for index in range(5)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


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
    assert texts_of(found) == [row["text"] for row in ROWS]
    assert [record.key for record in found if isinstance(record, Record)] == [
        f"id={row['key']}" for row in ROWS
    ]
    assert {record.lang for record in found if isinstance(record, Record)} == {"fr"}


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "arrow"])
def test_every_format_with_types_keeps_those_of_metadata(tmp_path: Path, suffix: str) -> None:
    metadata = {
        "score": 1.0,
        "count": 2,
        "ok": True,
        "meta": {"tags": ["a", None], "at": 0.5},
        "few": [[1], []],
    }
    rows = [{"text": "x", **metadata}, {"text": "y", **metadata}]
    path, table = tmp_path / f"a.{suffix}", pa.Table.from_pylist(rows)
    if suffix == "parquet":
        pq.write_table(table, path)
    elif suffix == "arrow":
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    else:
        path.write_text(json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows)))
    found = read(path, columns=Columns(metadata=tuple(metadata)))
    written = [json.dumps(item.metadata, sort_keys=True) for item in found if isinstance(item, Record)]
    assert written == [json.dumps(metadata, sort_keys=True)] * 2


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("value", [ROWS, {"data": ROWS}, {"data": {"rows": ROWS}}])
def test_a_value_that_may_hold_many_records_is_lost_as_a_stretch_of_its_bytes(
    tmp_path: Path, suffix: str, value: object
) -> None:
    line, whole = json.dumps(ROWS[0]) + "\n", json.dumps(value)
    (tmp_path / f"a.{suffix}").write_text(line + whole + "\n" + line)
    found = read(tmp_path / f"a.{suffix}")
    (lost,) = [item for item in found if isinstance(item, Malformed)]
    assert (lost.is_stretch, lost.size_bytes, lost.locator) == (True, len(whole), str(len(line)))
    assert texts_of([item for item in found if isinstance(item, Record)]) == [ROWS[0]["text"]] * 2


def test_text_files_are_one_document_each_in_sorted_order_and_keep_relative_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.md", "a.txt", "c/d.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"\xef\xbb\xbfline\r\n" + name.encode())
    found = read("**/*.*")
    assert [record.uri for record in found] == ["a.txt", "b.md", "c/d.txt"]
    assert texts_of(found)[0] == "line\na.txt"


def test_remote_files_are_read_through_fsspec() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/a.jsonl", LINES)
    assert texts_of(read("memory://corpus/*.jsonl")) == [row["text"] for row in ROWS]
    assert files.fingerprint(["memory://corpus/*.jsonl"])[0][:2] == ("memory:///corpus/a.jsonl", len(LINES))


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
