"""A folder and an object store behave the same."""

from __future__ import annotations

import errno
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from millrace.pipelines.store import backends
from millrace.pipelines.store.backends import MANIFEST, Backend, LocalBackend, RemoteBackend

NAMES = ("a", "deep/b")


@pytest.fixture(params=["folder", "file", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "folder":
        return LocalBackend(tmp_path / "store")
    uri = f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}"
    return RemoteBackend(uri, tmp_path / "cache")


def artifact(tmp_path: Path, text: str = "x") -> Path:
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_text(text)
    (folder / "deep" / "b").write_text("y")
    (folder / MANIFEST).write_text("{}")
    return folder


def test_what_is_written_is_read(backend: Backend) -> None:
    assert backend.read("a/b.json") is None
    backend.write("a/b.json", b"1")
    backend.write("a/b.json", b"22")
    assert backend.read("a/b.json") == b"22"
    assert backend.read("a/b.json/c") is None
    assert backend.exists("a/b.json")
    assert not backend.exists("a/c.json")


def test_names_are_sorted_and_of_one_folder(backend: Backend) -> None:
    assert backend.names("a") == []
    for name in ("c", "a", "b/d"):
        backend.write(f"a/{name}", b"")
    assert backend.names("a") == ["a", "b", "c"]
    assert backend.names("a/b") == ["d"]


def test_a_published_folder_is_there_with_everything_in_it(backend: Backend, tmp_path: Path) -> None:
    folder = artifact(tmp_path)
    backend.publish(folder, "artifacts/aa/aabb")
    assert not folder.exists()
    local = backend.local("artifacts/aa/aabb", NAMES)
    assert {file.relative_to(local).as_posix() for file in local.rglob("*") if file.is_file()} == {
        "a",
        "deep/b",
        MANIFEST,
    }
    assert backend.tree("artifacts/aa/aabb") == ["a", "deep/b", MANIFEST]
    with backend.open("artifacts/aa/aabb/deep/b") as handle:
        assert handle.read() == b"y"
    assert backend.names("artifacts/aa") == ["aabb"]
    assert backend.bytes_of("artifacts/aa/aabb") == 4


def test_publishing_again_keeps_what_is_there(backend: Backend, tmp_path: Path) -> None:
    backend.publish(artifact(tmp_path), "artifacts/aa/aabb")
    backend.publish(artifact(tmp_path, "another text"), "artifacts/aa/aabb")
    assert (backend.local("artifacts/aa/aabb", NAMES) / "a").read_text() == "x"
    assert not (tmp_path / "made").exists()


def test_what_is_removed_is_gone(backend: Backend, tmp_path: Path) -> None:
    backend.publish(artifact(tmp_path), "artifacts/aa/aabb")
    backend.write("stages/k.json", b"{}")
    for path in ("artifacts/aa/aabb", "stages/k.json", "stages/nothing.json"):
        backend.remove(path)
        assert not backend.exists(path)
    assert backend.names("artifacts/aa") == backend.names("stages") == []


def test_an_object_store_shows_an_artifact_only_once_its_manifest_is_there(tmp_path: Path) -> None:
    backend = RemoteBackend(f"file://{tmp_path}/store", tmp_path / "cache")
    order: list[str] = []
    put = backend.fs.put_file

    def noted(source: str, target: str) -> None:
        order.append(target.rpartition("/")[2])
        put(source, target)

    backend.fs.put_file = noted
    try:
        backend.publish(artifact(tmp_path), "artifacts/aa/aabb")
    finally:
        del backend.fs.put_file
    assert order[-1] == MANIFEST
    assert len(order) == 3


def test_another_machine_downloads_an_artifact_once(tmp_path: Path) -> None:
    RemoteBackend(f"file://{tmp_path}/store", tmp_path / "here").publish(
        artifact(tmp_path), "artifacts/aa/aabb"
    )
    there = RemoteBackend(f"file://{tmp_path}/store", tmp_path / "there")
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(there.local("artifacts/aa/aabb", NAMES)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "there" / "artifacts/aa/aabb"] * 4
    assert [(file.name) for file in (tmp_path / "there" / "artifacts/aa").iterdir()] == ["aabb"]
    (tmp_path / "store" / "artifacts/aa/aabb/a").unlink()
    assert (there.local("artifacts/aa/aabb", NAMES) / "a").read_text() == "x"


def test_a_download_that_was_killed_is_made_anew_and_leaves_nothing(tmp_path: Path) -> None:
    """Whatever the killed process had got, and names that the manifest does not list, are not in the copy."""
    here = RemoteBackend(f"file://{tmp_path}/store", tmp_path / "here")
    here.publish(artifact(tmp_path), "artifacts/aa/aabb")
    (tmp_path / "store" / "artifacts/aa/aabb/stray").touch()
    there = RemoteBackend(f"file://{tmp_path}/store", tmp_path / "there")
    half = tmp_path / "there" / "artifacts/aa/.aabb"
    half.mkdir(parents=True)
    (half / "a").write_text("half")
    local = there.local("artifacts/aa/aabb", NAMES)
    assert sorted(path.name for path in local.iterdir()) == ["a", "deep", MANIFEST]
    assert (local / "a").read_text() == "x"
    assert [path.name for path in local.parent.iterdir()] == ["aabb"]


def test_an_artifact_from_another_device_is_copied_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``/dev/shm`` is a device of its own, so no rename leads from it into the store."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        shared = tmp_path  # one device: the copy is made all the same
        monkeypatch.setattr(backends, "_same_device", lambda *paths: False)
    backend = LocalBackend(tmp_path / "store")
    with tempfile.TemporaryDirectory(dir=shared) as made:
        folder = artifact(Path(made))
        backend.publish(folder, "artifacts/aa/aabb")
        assert not folder.exists()
    assert backend.tree("artifacts/aa/aabb") == ["a", "deep/b", MANIFEST]
    assert backend.names("artifacts/aa") == ["aabb"]
    assert [path.name for path in (tmp_path / "store/artifacts/aa").iterdir()] == ["aabb"]


def test_times_are_of_one_clock(backend: Backend) -> None:
    """A file that was just written is as old as the store's clock says; there is no time of one that is not there."""
    before = backend.now()
    backend.write("a/b.json", b"1")
    assert before - 0.1 <= (backend.modified("a/b.json") or 0) <= backend.now() + 0.1
    assert backend.modified("a/none.json") is None
    assert "clock" not in str(backend.names("."))


def test_a_failed_copy_to_another_device_leaves_nothing_beside_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the folder stays where it was made."""
    folder, backend = artifact(tmp_path), LocalBackend(tmp_path / "store")
    monkeypatch.setattr(backends, "_same_device", lambda *paths: False)
    real = backends._sync

    def full(path: Path) -> None:
        if path.parent.name.startswith(".aabb"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path)

    monkeypatch.setattr(backends, "_sync", full)
    with pytest.raises(OSError, match="No space left"):
        backend.publish(folder, "artifacts/aa/aabb")
    assert list((tmp_path / "store/artifacts/aa").iterdir()) == []
    assert (folder / MANIFEST).exists()


def test_a_write_that_cannot_begin_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that the file beside it, which was never made, cannot be removed."""
    backend = LocalBackend(tmp_path)
    real = Path.open

    def refused(path: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if mode == "xb":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(PermissionError):
        backend.write("stages/k.json", b"{}")
