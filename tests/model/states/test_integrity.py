"""A sealed folder is whole until a byte of it changes, and the damage names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.model.states import integrity


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.bin").write_bytes(bytes(range(200)))
    (folder / "inner" / "b.bin").write_bytes(b"weights")
    (folder / "inner" / "empty").touch()
    integrity.seal(folder)
    return folder


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_sealed_folder_is_whole_and_may_be_sealed_again(sealed: Path) -> None:
    """Sealing does not count its own file."""
    first = (sealed / integrity.FILE).read_bytes()
    assert integrity.damage(sealed) == []
    integrity.seal(sealed)
    assert (sealed / integrity.FILE).read_bytes() == first


@pytest.mark.parametrize("file", ["a.bin", "inner/b.bin"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [(flip, "got SHA-256"), (cut, "bytes, expected"), (Path.unlink, "No such file")],
    ids=["flipped", "cut", "lost"],
)
def test_only_the_damaged_file_is_named(
    sealed: Path, file: str, harm: Callable[[Path], None], message: str
) -> None:
    """With what is wrong with it."""
    harm(sealed / file)
    (line,) = integrity.damage(sealed)
    assert line.startswith(f"{file}: ")
    assert message in line


@pytest.mark.parametrize(("harm", "message"), [(cut, "its own digest"), (Path.unlink, "cut off")])
def test_damage_to_the_list_itself_is_named(sealed: Path, harm: Callable[[Path], None], message: str) -> None:
    """A folder without one was not finished."""
    harm(sealed / integrity.FILE)
    (line,) = integrity.damage(sealed)
    assert line.startswith(f"{integrity.FILE}: ")
    assert message in line
