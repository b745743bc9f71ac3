"""An artifact's files are hashed once, and again where their times changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from millrace.pipelines.store import intact

DIGEST = "ab" * 32
CONTENTS = {"a.txt": b"one", "deep/b.txt": b"two"}
FILES = {
    name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in CONTENTS.items()
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact's folder with the two files."""
    made = tmp_path / "artifact"
    for name, data in CONTENTS.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(data)
    return made


def told(tmp_path: Path, folder: Path, *, read: bool = False) -> str | None:
    """``intact.damage`` of the artifact."""
    return intact.damage(tmp_path / "scratch", DIGEST, folder, FILES, read=read)


@pytest.mark.parametrize("read", [False, True])
def test_files_as_they_were_written_are_sound(tmp_path: Path, folder: Path, read: bool) -> None:
    assert told(tmp_path, folder, read=read) is None
    intact.remember(tmp_path / "scratch", DIGEST, folder, FILES)
    assert told(tmp_path, folder, read=read) is None


def test_a_changed_byte_of_a_file_never_seen_is_found_only_by_reading_it(
    tmp_path: Path, folder: Path
) -> None:
    """Its size says nothing; a cut file is found by its size alone."""
    (folder / "a.txt").write_bytes(b"onE")
    assert told(tmp_path, folder) is None
    assert told(tmp_path, folder, read=True) == "a.txt is not what was written"
    (folder / "deep/b.txt").write_bytes(b"")
    assert told(tmp_path / "other", folder) == "deep/b.txt has 0 bytes, 3 were written"


def test_a_changed_file_that_was_seen_is_found_without_being_asked_to_read(
    tmp_path: Path, folder: Path
) -> None:
    intact.remember(tmp_path / "scratch", DIGEST, folder, FILES)
    file = folder / "a.txt"
    status = file.stat()
    file.write_bytes(b"onE")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # the change time tells
    assert told(tmp_path, folder) == "a.txt is not what was written"
    assert told(tmp_path, folder) == "a.txt is not what was written"
    file.write_bytes(b"one")
    assert told(tmp_path, folder) is None


def test_damage_that_was_found_stays_known_when_the_folder_is_gone(tmp_path: Path, folder: Path) -> None:
    """A copy of an object that turned out damaged is deleted; until it is made again, the object counts as damaged."""
    (folder / "deep/b.txt").write_bytes(b"twO")
    told(tmp_path, folder, read=True)
    assert told(tmp_path, tmp_path / "none") == "deep/b.txt is not what was written"
    intact.forget(tmp_path / "scratch", DIGEST)
    assert told(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize("content", ["", "[]", "null", "{"])
def test_a_damaged_note_means_that_nothing_was_seen(tmp_path: Path, folder: Path, content: str) -> None:
    intact.remember(tmp_path / "scratch", DIGEST, folder, FILES)
    (tmp_path / "scratch/seen" / f"{DIGEST}.json").write_text(content)
    (folder / "a.txt").write_bytes(b"onE")
    assert told(tmp_path, folder, read=True) == "a.txt is not what was written"


def test_a_file_more_or_less_is_named(tmp_path: Path, folder: Path) -> None:
    """The manifest is no file of the artifact."""
    (folder / "manifest.json").touch()
    assert told(tmp_path, folder) is None
    (folder / "deep/c").touch()
    assert told(tmp_path, folder) == "deep/c was added"
    (folder / "deep/c").unlink()
    (folder / "a.txt").unlink()
    assert told(tmp_path, folder) == "a.txt is missing"


def test_a_note_that_cannot_be_kept_costs_only_another_reading(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "scratch").write_text("a file where the folder should be")
    assert told(tmp_path, folder, read=True) is None
    (folder / "a.txt").write_bytes(b"onE")
    assert told(tmp_path, folder, read=True) == "a.txt is not what was written"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, folder: Path) -> None:
    """As a link that leads nowhere."""
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(tmp_path / "nowhere")
    assert told(tmp_path, folder) == "a.txt cannot be read (No such file or directory)"
