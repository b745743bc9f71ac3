"""The store: artifacts by content, records last, locks that a killed holder lets go."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.store import intact
from millrace.pipelines.store.backends import RemoteBackend
from millrace.pipelines.store.errors import DamagedError, StoreError
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.seal import seal
from millrace.pipelines.store.store import Store, artifact_digest, file_digests

FILES = {"a.txt": "one", "deep/b.txt": "two", ".hidden": "three"}


def made(store: Store, files: Mapping[str, str] = FILES, name: str = "out") -> Path:
    folder = store.work("key") / name
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    return folder


def record(key: str, digest: str, **more: Any) -> StageRecord:
    facts: dict[str, Any] = {
        "config": {},
        "inputs": {},
        "modules": {},
        "metrics": {},
        "versions": {},
        "seed": 0,
    }
    facts |= {"stage": "s", "component": "c", "fingerprint": None, "code": "c", "run": "r", "started": 0.0}
    outputs = {"documents": {"digest": digest, "kind": "documents"}}
    return StageRecord(key=key, outputs=outputs, seconds=0.0, peak_bytes=0, **facts, **more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_an_artifact_holds_the_files_with_their_digests_and_cannot_be_written(store: Store) -> None:
    digest = store.publish(made(store), "documents", {"stage": "s"})
    folder = store.folder(digest)
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    manifest = store.manifest(digest)
    assert manifest is not None
    assert manifest["files"] == file_digests(folder)
    assert manifest["producer"] == {"stage": "s"}
    assert not any(file.stat().st_mode & 0o222 for file in folder.rglob("*") if file.is_file())


def test_the_same_bytes_are_one_artifact_whoever_made_them(store: Store) -> None:
    first = store.publish(made(store), "documents", {"stage": "a"})
    again = store.publish(made(store), "documents", {"stage": "b"})
    assert first == again
    assert list(store.artifacts()) == [first]
    assert not (store.work("key") / "out").exists()


@given(st.data())
def test_the_digest_covers_kind_names_and_contents(data: st.DataObject) -> None:
    files = st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=3).map(bytes.hex), min_size=1)
    kinds = st.sampled_from(["documents", "tokens"])
    one, other = (data.draw(st.tuples(kinds, files)) for _ in range(2))
    digests = [
        artifact_digest(
            kind, {name: {"sha256": value, "bytes": len(value)} for name, value in contents.items()}
        )
        for kind, contents in (one, other)
    ]
    assert (digests[0] == digests[1]) == (one == other)


def test_an_output_with_a_link_or_a_manifest_of_its_own_is_refused(store: Store) -> None:
    folder = made(store)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match=r"manifest\.json in an output"):
        store.publish(folder, "documents", {})
    (folder / "manifest.json").unlink()
    (folder / "link").symlink_to(folder / "a.txt")
    with pytest.raises(StoreError, match="link in an output"):
        store.publish(folder, "documents", {})


def test_an_artifact_that_lost_its_manifest_is_made_again(store: Store) -> None:
    digest = store.publish(made(store), "documents", {})
    (store.folder(digest) / "manifest.json").unlink()
    assert not store.has(digest)
    assert store.publish(made(store), "documents", {}) == digest
    assert store.has(digest)


def test_an_artifact_is_found_by_its_first_digits(store: Store) -> None:
    digest = store.publish(made(store), "documents", {})
    assert store.find(digest[:1]) == store.find(digest[:2]) == store.find(digest[:9]) == [digest]
    assert store.find(digest[:9] + "x") == []


def test_a_record_reads_back_and_is_reusable_while_its_artifacts_are_there(store: Store) -> None:
    digest = store.publish(made(store), "documents", {})
    store.write_record(record("k", digest, lineage=[{"a": 1}]))
    assert store.reusable("k") == store.record("k") == record("k", digest, lineage=[{"a": 1}])
    assert store.stage_keys() == ["k"]
    store.backend.remove(f"artifacts/{digest[:2]}/{digest}")
    assert store.record("k") is not None
    assert store.reusable("k") is None
    assert store.record("other") is None


@pytest.mark.parametrize("lost", ["documents", "decisions"])
def test_a_record_is_reusable_only_with_every_one_of_its_outputs(store: Store, lost: str) -> None:
    digests = {port: store.publish(made(store, {"a": port}), port, {}) for port in ("documents", "decisions")}
    outputs = {port: {"digest": digest, "kind": port} for port, digest in digests.items()}
    whole = dataclasses.replace(record("k", ""), outputs=outputs)
    store.write_record(whole)
    assert store.reusable("k") == whole
    store.backend.remove(f"artifacts/{digests[lost][:2]}/{digests[lost]}")
    assert store.reusable("k") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', "\xff", '{"of_a_later_version": 1}'])
def test_a_damaged_record_says_which_file_to_remove(store: Store, text: str) -> None:
    store.backend.write("stages/k.json", text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"stages/k.json cannot be read: it .* remove the file"):
        store.record("k")


def test_a_record_that_cannot_be_read_as_a_whole_is_never_half_there(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "store" / "stages" / "k.json"
    sizes = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if path.exists():
                sizes.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for size in (1, 100_000) * 20:
        store.backend.write("stages/k.json", b"x" * size)
    stop.set()
    reader.join()
    assert sizes <= {1, 100_000}


def test_runs_keep_their_files_and_damage_is_named(store: Store) -> None:
    store.write_run("2025-b", "run.json", {"a": 1})
    store.write_run("2025-a", "run.json", {"a": 2})
    assert store.run_ids() == ["2025-a", "2025-b"]
    assert store.read_run("2025-b") == {"a": 1}
    assert store.read_run("2025-c") is None
    for data in (b"", b"{", b"[]", b"3", b'{"stages": []}', b'{"stages": {"a": 1}}'):
        store.backend.write("runs/2025-b/run.json", data)
        with pytest.raises(StoreError, match=r"runs/2025-b/run\.json cannot be read"):
            store.read_run("2025-b")


def test_a_lock_is_held_by_one_at_a_time(store: Store) -> None:
    counts = [0, 0]

    def work() -> None:
        for _ in range(10):
            with Store(store.uri).lock("key") as folder:
                counts[0] += 1
                counts[1] = max(counts)
                assert counts[0] == 1
                counts[0] -= 1
                shutil.rmtree(folder, ignore_errors=True)  # as the holder does at the end of a stage

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [0, 1]


def test_a_killed_holder_lets_go_of_its_lock(store: Store) -> None:
    program = (
        "import os, sys; from millrace.pipelines.store.store import Store\n"
        "with Store(sys.argv[1]).lock('key'):\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, store.uri]).returncode == -9
    with store.lock("key") as folder:
        assert folder == store.work("key")


def test_a_file_uri_is_the_folder(store: Store) -> None:
    digest = store.publish(made(store), "documents", {})
    other = Store(f"file://{store.uri}")
    assert (other.is_local, other.uri, list(other.artifacts())) == (True, store.uri, [digest])


@pytest.mark.parametrize("uri", ["nothing://bucket/a", "s4://bucket"])
def test_a_uri_that_nothing_opens_says_what_is_expected(uri: str) -> None:
    with pytest.raises(StoreError, match=r"cannot be opened: .* expected a folder or an fsspec URI"):
        Store(uri)


def test_a_users_home_may_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert str(os.getuid()) in str(Store("memory://a").scratch)


def test_digests_leave_out_the_manifest(store: Store) -> None:
    digest = store.publish(made(store), "documents", {})
    assert file_digests(store.folder(digest)).keys() == FILES.keys()


@pytest.mark.parametrize("change", ["flip", "same times", "shorten", "remove", "add"])
def test_a_damaged_artifact_is_not_reused_is_not_taken_and_is_made_again(store: Store, change: str) -> None:
    digest = store.publish(made(store), "documents", {})
    store.write_record(record("k", digest))
    file = store.folder(digest) / "deep" / "b.txt"
    before = file.stat()
    file.chmod(0o644)
    if change in ("flip", "same times"):
        file.write_bytes(b"twO")
        if change == "same times":
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "shorten":
        file.write_bytes(b"tw")
    elif change == "remove":
        file.unlink()
    else:
        (file.parent / "more").touch()
    assert store.reusable("k") is None
    with pytest.raises(
        DamagedError, match=r"is damaged: deep/(b\.txt|more) .* the stage that made it runs again"
    ):
        store.take(digest)
    assert store.publish(made(store), "documents", {}) == digest
    assert {name: (store.take(digest) / name).read_text() for name in FILES} == FILES
    assert store.reusable("k") is not None


def test_damage_that_came_before_the_first_look_is_found_when_the_artifact_is_taken(store: Store) -> None:
    """As in a store that was copied from another machine."""
    digest = store.publish(made(store), "documents", {})
    store.write_record(record("k", digest))
    shutil.rmtree(store.scratch / "seen")
    file = store.folder(digest) / "a.txt"
    file.chmod(0o644)
    file.write_text("onE")
    assert store.reusable("k") is not None
    assert store.reusable("k", read=True) is None
    with pytest.raises(DamagedError, match=r"a\.txt is not what was written"):
        store.take(digest)
    assert store.reusable("k") is None  # remembered


def test_a_file_is_hashed_once_and_after_a_touch_once_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.publish(made(store), "documents", {})
    hashed: list[str] = []
    real = intact._sha256

    def counted(file: Path) -> str:
        hashed.append(file.name)
        return real(file)

    monkeypatch.setattr(intact, "_sha256", counted)
    store.take(digest)
    assert hashed == []
    (store.folder(digest) / "a.txt").touch()
    for _ in range(2):
        store.take(digest)
        store.take(digest)
    assert hashed == ["a.txt"]


def object_store(tmp_path: Path, machine: str) -> Store:
    opened = Store(str(tmp_path / machine))
    opened.backend, opened.is_local = RemoteBackend(f"file://{tmp_path}/remote", opened.scratch), False
    return opened


def test_a_damaged_copy_of_an_object_is_fetched_again_and_a_damaged_object_is_named(tmp_path: Path) -> None:
    here, there = (object_store(tmp_path, machine) for machine in ("here", "there"))
    digest = here.publish(made(here), "documents", {})
    here.write_record(record("k", digest))
    copy = there.take(digest) / "a.txt"
    copy.write_text("")
    assert (there.take(digest) / "a.txt").read_text() == "one"
    (tmp_path / "remote/artifacts" / digest[:2] / digest / "a.txt").write_text("onE")
    copy.write_text("")
    with pytest.raises(DamagedError, match=r"a\.txt is not what was written"):
        there.take(digest)
    assert there.reusable("k") is None
    assert there.publish(made(there), "documents", {}) == digest
    assert (object_store(tmp_path, "third").take(digest) / "a.txt").read_text() == "one"


NAMES = ["../x", "/x", "a/../../x", "a//b", "./a", "", ".", "a\\..\\x", "a\0", "manifest.json", ".."]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_that_names_a_file_outside_of_its_artifact_is_refused(tmp_path: Path, name: str) -> None:
    here = object_store(tmp_path, "here")
    files = {name: {"sha256": "0" * 64, "bytes": 1}}
    digest = artifact_digest("documents", files)
    manifest = {"digest": digest, "kind": "documents", "files": files, "producer": {}}
    here.backend.write(f"artifacts/{digest[:2]}/{digest}/manifest.json", seal(manifest))
    for use in (here.manifest, here.folder, here.take):
        with pytest.raises(DamagedError, match="outside of the artifact"):
            use(digest)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"kind": "documents", "files": []}'])
def test_a_manifest_that_is_none_is_named(store: Store, data: bytes) -> None:
    digest = store.publish(made(store), "documents", {})
    store.write_record(record("k", digest))
    store.backend.write(f"artifacts/{digest[:2]}/{digest}/manifest.json", data)
    with pytest.raises(DamagedError, match=r"manifest\.json cannot be read: .* runs again"):
        store.manifest(digest)
    assert store.reusable("k") is None
    assert store.publish(made(store), "documents", {}) == digest
    assert store.reusable("k") is not None


def test_a_record_under_another_key_is_refused(store: Store) -> None:
    store.backend.write("stages/other.json", record("k", "0" * 64).to_json())
    with pytest.raises(StoreError, match="it is the record of k"):
        store.record("other")


@given(st.lists(st.sampled_from(["20200101-000000-000ab12", "20991231-235959-999ffff"]), max_size=2))
def test_a_new_run_sorts_after_every_other_whatever_the_clock_says(old: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        store = Store(folder)
        runs = [*old]
        for run in old:
            store.write_run(run, "run.json", {})
        for seconds in (4e9, 1e9, 2e9):
            patch.setattr(
                "time.gmtime", lambda seconds=seconds: datetime.fromtimestamp(seconds, UTC).timetuple()
            )
            runs.append(store.new_run("ab"))
            store.write_run(runs[-1], "run.json", {})
        assert store.run_ids() == [*sorted(set(old)), *runs[len(old) :]]


@pytest.mark.parametrize("uri", ["", "a\0b"])
def test_a_store_that_no_system_can_open_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="expected a folder or an fsspec URI"):
        Store(uri)
