"""Formats, encodings and archives one by one: what decides how a file is read, and what its limits are."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.corrupting import FORMATS, read_file, texts

from millrace.data.sources import files
from millrace.data.sources.bytes import encodings
from millrace.data.sources.records import Batch, Malformed, Options, Record

PROSE = "Sie sagte, daß es für ihn zu spät sei, und ging über die Straße zurück nach Köln. " * 20


def contents(path: Path, **options: Any) -> tuple[list[str], list[str]]:
    """Texts, and the problems with their files' names inside the folder or archive before them."""
    found: list[str] = []
    problems: list[str] = []
    for part in files.plan([str(path)], Options(**options)):
        for item in files.read(part):
            if isinstance(item, Malformed):
                problems.append(f"{item.rule} {item.uri.split('!/')[-1]}: {item.problem}")
            else:
                found += [item.text] if isinstance(item, Record) else item.texts.to_pylist()
    return found, problems


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("named", [".jsonl", ".parquet", ".csv", ".txt"])
def test_contents_decide_over_a_wrong_suffix_where_they_say_what_they_are(
    tmp_path: Path, written: str, named: str
) -> None:
    document = texts(1)[:1] if written in (".txt", ".html") else texts(1)
    if written in (".html", ".warc"):
        document = [" ".join(text.split()) for text in document]
    path = tmp_path / f"a{named}"
    path.write_bytes(gzip.compress(FORMATS[written](document)))
    found, bad = read_file(path)
    if written.endswith((".parquet", ".arrow", ".warc", ".wet")) and "stream" not in written:
        assert (found, bad) == (document, [])
    elif written != named and named != ".txt":
        assert found == document or bad


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


def ranges(path: Path, size: int) -> tuple[list[str], int]:
    """What the ranges of a file hold, and how many there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PART_BYTES", size)
        parts = files.plan([str(path)], Options())
    items = [item for part in parts for item in files.read(part)]
    assert all(isinstance(item, Batch) for item in items)
    found = [text for item in items if isinstance(item, Batch) for text in item.texts.to_pylist()]
    locators = [place for item in items if isinstance(item, Batch) for place in item.locators.to_pylist()]
    assert len(set(locators)) == len(locators)
    return found, len(parts)


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


@given(st.integers(200, 30_000))
def test_the_ranges_of_row_groups_are_the_whole_whatever_their_size(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "a.parquet"
    pq.write_table(pa.table({"text": texts(3, 100)}), path, row_group_size=7)
    assert ranges(path, size)[0] == texts(3, 100)


def test_a_compressed_file_under_a_plain_name_is_read_once_though_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(zstandard.compress(FORMATS[".jsonl"](texts(4))))
    monkeypatch.setattr(files, "PART_BYTES", 500)
    assert len(files.plan([str(path)], Options())) > 5
    assert contents(path) == (texts(4), [])


def test_csv_has_delimiters_quotes_line_ends_in_quotes_and_rows_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id;text\n1;"a ""b""; c\nd"\n2\n3;e\n;f\n')
    found, problems = contents(tmp_path / "a.csv", delimiter=";")
    assert found == ['a "b"; c\nd', "e", "f"]
    assert problems == [
        "malformed " + str(tmp_path / "a.csv") + ": got 1 fields, expected 2 as in the line of names"
    ]


@pytest.mark.parametrize(
    "text", ['{"text": "a"}', '[{"text": "a"}]', '{"text":\n "a"}\n', ' [ {"text": "a"} ] \n']
)
def test_json_is_an_array_or_objects(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert contents(tmp_path / "a.json") == (["a"], [])


def test_json_goes_on_behind_what_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": b"}, 7, {"text": "c"}]')
    found, problems = contents(tmp_path / "a.json")
    assert found == ["a", "c"]
    assert len(problems) == 2 or len(problems) == 1


def tar_of(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def zip_of(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_gives_its_members_by_their_own_formats_and_says_what_it_skips(
    tmp_path: Path, kind: str
) -> None:
    members = {
        "a.jsonl.gz": gzip.compress(b'{"text": "one"}\n'),
        "b/c.txt": b"two",
        "../../etc/d.txt": b"three",
        "/e.txt": b"four",
        "f.jpg": b"\xff\xd8\xff",
        "__MACOSX/._a.txt": b"x",
        "g.txt": b"",
        "n" * 150 + ".txt": b"five",
        "inner.zip": b"PK\x03\x04",
    }
    (tar_of if kind == "tar" else zip_of)(tmp_path / f"a.{kind}", members)
    found, problems = contents(tmp_path / f"a.{kind}")
    assert found == ["one", "two", "three", "four", "five"]
    assert [problem.split(":")[0] for problem in problems] == [
        "skipped f.jpg", "skipped __MACOSX/._a.txt", "malformed g.txt", "skipped inner.zip",
    ]  # fmt: skip
    parts = files.plan([str(tmp_path / f"a.{kind}")], Options())
    uris = [item.uri for part in parts for item in files.read(part)]
    assert all(uri.startswith(f"{tmp_path / f'a.{kind}'}!/") for uri in uris)


def test_a_member_of_a_name_that_came_before_is_malformed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for data in (b"one", b"two"):
            info = tarfile.TarInfo("a.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    found, (problem,) = contents(tmp_path / "a.tar")
    assert found == ["one"]
    assert "got a member of this name again" in problem


def test_a_zip_whose_directory_is_cut_off_is_read_by_its_members(tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", {"a.txt": b"one", "b.txt": b"two"})
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[: data.index(b"PK\x01\x02") + 5])
    found, (problem,) = contents(tmp_path / "a.zip")
    assert found == ["one", "two"]
    assert "without its directory" in problem


def test_a_zip_bomb_of_members_that_share_bytes_is_not_inflated(tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", {"a.txt": b"x" * 1000, "b.txt": b"x" * 1000})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    first = data.index(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = data[first + 42 : first + 46] = struct.pack("<L", 0)
    (tmp_path / "a.zip").write_bytes(data)
    found, problems = contents(tmp_path / "a.zip")
    assert len(found) <= 1
    assert any("shares bytes with another one" in problem for problem in problems)


@pytest.mark.parametrize("suffix", ["jsonl.gz", "zip"])
def test_what_inflates_beyond_its_limits_is_malformed(tmp_path: Path, suffix: str) -> None:
    data = b'{"text": "' + b"x" * 100 + b'"}\n'
    data *= 20_000
    path = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        zip_of(path, {"a.jsonl": data})
    else:
        path.write_bytes(gzip.compress(data))
    found, (problem,) = contents(path, max_member_bytes=1 << 20)
    assert 0 < len(found) < 20_000
    assert "expected at most max_member_bytes" in problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("millrace.data.sources.bytes.streams.RATIO_COUNTS_FROM_BYTES", 1 << 20)
        assert "expected a ratio of at most max_ratio = 20" in contents(path, max_ratio=20.0)[1][0]


def test_a_licence_column_and_a_default_go_to_the_metadata_whatever_the_format(tmp_path: Path) -> None:
    rows = [{"text": "a", "rights": "MIT"}, {"text": "b", "rights": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.csv").write_text("text,rights\na,MIT\nb,\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    columns = files.DEFAULTS.columns.__class__(license="rights")
    for path in sorted(tmp_path.iterdir()):
        items = [
            item
            for part in files.plan([str(path)], Options(columns=columns, default_license="CC0-1.0"))
            for item in files.read(part)
        ]
        found = [
            metadata
            for item in items
            for metadata in (
                [dict(item.metadata)]
                if isinstance(item, Record)
                else map(json.loads, item.metadata.to_pylist())  # type: ignore[union-attr]
            )
        ]
        assert found == [{"license": "MIT"}, {"license": "CC0-1.0"}]


def test_a_line_of_json_that_kernels_read_is_what_python_reads(tmp_path: Path) -> None:
    draw = random.Random(5)
    strings = ["", "a", 'q"', "\\", "\n", "é", "水", "🦀", "\u2028", "/", "\x7f", "\x01"]
    rows = [
        {
            "text": "x" + "".join(draw.choices(strings, k=8)),
            "n": [draw.random(), {"a": None}],
            "b": draw.random() < 0.5,
        }
        for _ in range(300)
    ]
    written = [json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(written))
    assert contents(tmp_path / "a.jsonl") == ([row["text"] for row in rows], [])
