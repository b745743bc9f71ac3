"""Archives give their members, whole or damaged, and nothing of what is hostile."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.data.sources.reading import contents

from millrace.data.sources import files
from millrace.data.sources.records import Options


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
