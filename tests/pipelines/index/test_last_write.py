"""A file that changes in place is as its last writer left it, or it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millrace.pipelines.index import last_write


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a note."""
    monkeypatch.setattr(last_write, "SECONDS", 0.0)
    made = tmp_path / "index.sqlite"
    made.write_bytes(b"one")
    last_write.note(made)
    return made


def test_a_writing_without_a_note_is_noticed_until_the_next_note(file: Path) -> None:
    assert last_write.is_as_left(file)
    file.write_bytes(b"two")
    assert not last_write.is_as_left(file)
    last_write.note(file)
    assert last_write.is_as_left(file)
    assert last_write.is_as_left(file, read=True)


def test_rot_that_leaves_the_times_alone_is_found_by_reading(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that loses a bit changes no time."""
    known = last_write.stamp(file)
    file.write_bytes(b"onE")
    monkeypatch.setattr(last_write, "stamp", lambda path: known)
    assert last_write.is_as_left(file)
    assert not last_write.is_as_left(file, read=True)


@pytest.mark.parametrize("note", ["", "[]", "{}", "null", '{"stamp": 1}', None])
def test_without_a_sound_note_nothing_is_known(file: Path, note: str | None) -> None:
    kept = file.parent / "seen/index.sqlite.json"
    kept.unlink() if note is None else kept.write_text(note)
    assert not last_write.is_as_left(file)


def test_a_file_that_is_gone_is_not_as_it_was_left(file: Path) -> None:
    os.unlink(file)
    assert not last_write.is_as_left(file)
    last_write.note(file)
