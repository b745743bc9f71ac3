"""A cache's folder appears whole, is checked when it is opened, and goes with its artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.pipelines.index import folders
from millrace.pipelines.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


def made(store: Store, name: str, data: bytes = b"rows") -> Path:
    """A folder with one file."""
    folder = folders.index_folder(store) / name
    told = {"version": 1}
    with folders.made_anew(store, folder, told) as being_made:
        (being_made / "ids.keys").write_bytes(data)
        told["rows"] = len(data)
    return folder


def test_the_notes_are_those_when_the_folder_was_full(store: Store) -> None:
    assert folders.notes(store, made(store, "a")) == {"version": 1, "rows": 4}


def test_a_changed_file_or_note_is_refused_and_a_new_folder_takes_its_place(store: Store) -> None:
    folder = made(store, "a")
    (folder / "ids.keys").write_bytes(b"rowS")
    with pytest.raises(ValueError, match=r"ids\.keys is not what was written"):
        folders.notes(store, folder)
    folder = made(store, "a", b"others")
    assert folders.notes(store, folder)["rows"] == 6
    manifest = folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rows": 6', b'"rows": 7'))
    with pytest.raises(ValueError, match="seal"):
        folders.notes(store, folder)


def test_a_failed_filling_leaves_the_old_folder_and_nothing_else(store: Store) -> None:
    folder = made(store, "a")
    with pytest.raises(RuntimeError), folders.made_anew(store, folder, {}):
        raise RuntimeError("disk full")
    assert [path.name for path in folders.index_folder(store).iterdir()] == ["a"]
    assert folders.notes(store, folder)["rows"] == 4


def test_folders_of_artifacts_that_are_gone_are_forgotten(store: Store) -> None:
    """With everything that belongs to one artifact."""
    for name in ("a", "a.text", "b"):
        made(store, name)
    folders.forget(store, {"b"})
    assert [path.name for path in folders.index_folder(store).iterdir()] == ["b"]
    assert [path.name for path in (store.scratch / "seen").iterdir()] == ["index-b.json"]


def test_every_damaged_folder_is_named(store: Store) -> None:
    for name in ("a", "b", "c"):
        made(store, name)
    assert list(folders.damaged(store)) == []
    (folders.index_folder(store) / "a/ids.keys").unlink()
    (folders.index_folder(store) / "b/manifest.json").unlink()
    assert [path.name for path, _ in folders.damaged(store)] == ["a", "b"]
