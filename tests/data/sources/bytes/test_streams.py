"""Compressed streams: found by their contents, cut, and inflated within limits."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest
import zstandard
from tests.corrupting import FORMATS, texts
from tests.data.sources.reading import contents, problems, read, texts_of

from millrace.data.sources import files
from millrace.data.sources.records import (
    Options,
)


def test_a_compressed_file_under_a_plain_name_is_read_once_though_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(zstandard.compress(FORMATS[".jsonl"](texts(4))))
    monkeypatch.setattr(files, "PART_BYTES", 500)
    assert len(files.plan([str(path)], Options())) > 5
    assert contents(path) == (texts(4), [])


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


def zip_of(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_truncated_stream_keeps_whole_lines_and_is_one_malformed_record(tmp_path: Path, name: str) -> None:
    rows = [json.dumps({"text": f"{index} {hash_like(index)}"}) for index in range(200_000)]
    packed = "\n".join(rows).encode()
    packed = gzip.compress(packed, 1) if name.endswith("gz") else zstandard.compress(packed)
    (tmp_path / name).write_bytes(packed[: len(packed) * 3 // 4])
    found = read(tmp_path / name)
    assert 10_000 < len(texts_of(found)) < 200_000
    ((_, problem),) = problems(found)
    assert problem.startswith("got a truncated or corrupt")


def hash_like(index: int) -> int:
    return index * 2654435761 % 2**32
