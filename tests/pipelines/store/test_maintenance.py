"""Verify finds every kind of damage; collecting never touches what a kept run reaches."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.pipelines.store import backends, canonical, maintenance
from millrace.pipelines.store.errors import StoreError
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store


def facts_of(name: str, text: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"config": {"text": text}, "inputs": {}, "fingerprint": None, "lineage": None}
    return facts | {"component": name, "code": "c", "seed": 0}


def key_of(name: str, text: str) -> str:
    return canonical.stage_key(**facts_of(name, text))


def stage(store: Store, name: str, text: str) -> str:
    """A finished stage whose output is one text; returns its key."""
    key, facts = key_of(name, text), facts_of(name, text)
    folder = store.work(key) / "out"
    folder.mkdir(parents=True)
    (folder / "file").write_text(text)
    (folder / ".zarray").write_text(text)
    producer = {**facts, "stage": name, "port": "out", "run": "r", "key": key, "metrics": {"n": 1}}
    digest = store.publish(folder, "documents", producer)
    outputs = {"out": {"digest": digest, "kind": "documents"}}
    times: dict[str, Any] = {"started": 0.0, "seconds": 0.0, "peak_bytes": 0, "modules": {}, "versions": {}}
    record = StageRecord(key=key, stage=name, outputs=outputs, run="r", metrics={"n": 1}, **facts, **times)
    store.write_record(record)
    return key


def run(store: Store, number: int, pipeline: str, keys: dict[str, str], status: str = "done") -> str:
    name = f"20250101-{number:06d}-0000"
    stages = {stage: {"status": "ran", "key": key} for stage, key in keys.items()}
    store.write_run(name, "run.json", {"id": name, "pipeline": pipeline, "status": status, "stages": stages})
    return name


def digest_of(store: Store, key: str) -> str:
    record = store.record(key)
    assert record is not None
    return record.outputs["out"]["digest"]


@pytest.fixture(params=["folder", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    opened = Store(str(tmp_path / "store"))
    if request.param == "object store":
        opened.backend, opened.is_local = (
            backends.RemoteBackend(f"file://{tmp_path}/remote", tmp_path / "store"),
            False,
        )
    return opened


@pytest.fixture
def root(store: Store, tmp_path: Path) -> Path:
    return tmp_path / ("store" if store.is_local else "remote")


def test_a_sound_store_has_no_damage(store: Store) -> None:
    stage(store, "a", "one")
    assert maintenance.verify(store) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("flip", "file is not what was written"),
        ("shorten", "file is not what was written"),
        ("remove", "file is missing"),
        ("add", "extra was added"),
        ("manifest", "its manifest cannot be read"),
        ("other manifest", "its manifest cannot be read"),
        ("kind", "its seal does not match"),
        ("record", "cannot be read"),
    ],
)
def test_verify_finds_and_names_every_kind_of_damage(
    store: Store, root: Path, damage: str, problem: str
) -> None:
    key = stage(store, "a", "one")
    stage(store, "b", "two")
    folder = root / "artifacts" / digest_of(store, key)[:2] / digest_of(store, key)
    file, manifest = folder / "file", folder / "manifest.json"
    for path in (file, manifest):
        path.chmod(0o644)
    if damage in ("flip", "shorten"):
        data = bytearray(file.read_bytes())
        data[1] ^= 1
        file.write_bytes(data if damage == "flip" else data[:-1])
    elif damage == "remove":
        file.unlink()
    elif damage == "add":
        (folder / "extra").touch()
    elif damage == "kind":
        manifest.write_text(manifest.read_text().replace('"documents"', '"tokens"'))
    elif damage == "record":
        (root / "stages" / f"{key}.json").write_text("{")
    else:
        manifest.write_text("{" if damage == "manifest" else "[]")
    (found,) = maintenance.verify(store)
    assert problem in found.problem
    assert found.path.endswith(f"{key}.json" if damage == "record" else folder.name)


def test_verify_finds_a_record_whose_artifact_is_gone(store: Store) -> None:
    key = stage(store, "a", "one")
    store.backend.remove(f"artifacts/{digest_of(store, key)[:2]}/{digest_of(store, key)}")
    (found,) = maintenance.verify(store)
    assert (found.path, "its output out" in found.problem) == (f"stages/{key}.json", True)


def test_collecting_waits_for_nobody_and_refuses_while_a_run_is_in_progress(store: Store) -> None:
    with store.in_use(), pytest.raises(StoreError, match="a run is using the store"):
        maintenance.collect(store, 1)
    maintenance.collect(store, 1)


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store, root: Path) -> None:
    for number, text in enumerate(("one", "two", "three")):
        run(store, number, "p", {"a": stage(store, "a", text)})
    before = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock")
    said = maintenance.collect(store, 1, dry_run=True)
    assert sorted(path for path in root.rglob("*") if path.is_file() and path.name != "lock") == before
    assert maintenance.collect(store, 1) == said
    assert (len(said.runs), len(said.records), len(said.artifacts)) == (2, 2, 2)
    assert said.bytes >= 12


def test_collecting_sweeps_what_killed_processes_left_and_keeps_hidden_files_of_artifacts(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path))
    key = stage(store, "a", "one")
    run(store, 1, "p", {"a": key})
    left = [
        tmp_path / path
        for path in ("artifacts/ab/.removed-x", "stages/.k.json.12", "runs/.removed-r", "work/k")
    ]
    for path in left:
        path.mkdir(parents=True)
    maintenance.collect(store, 1, grace_seconds=0)
    assert not any(path.exists() for path in left)
    assert maintenance.verify(store) == []


def test_collecting_keeps_the_newest_good_run_and_the_checkpoints_of_interrupted_ones(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    good = run(store, 1, "p", {"a": stage(store, "a", "one")})
    for number in (2, 3, 4):
        run(store, number, "p", {"a": f"unfinished-{number}"}, status="interrupted")
        (tmp_path / "work" / f"unfinished-{number}").mkdir(parents=True)
    maintenance.collect(store, 1)
    assert store.run_ids() == [good, "20250101-000004-0000"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["unfinished-4"]
    assert len(list(store.artifacts())) == 1


History = list[tuple[str, dict[str, str]]]
NAMES = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["one", "two", "three"]), max_size=3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["p", "q"]), NAMES), max_size=6),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["four", "five"])), max_size=2),
    st.integers(0, 3),
)
def test_collecting_leaves_exactly_what_the_kept_runs_reach(
    history: History, strays: list[tuple[str, str]], keep: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)
        store = Store(folder)
        for name, text in strays:
            stage(store, name, text)
        runs = [
            (
                pipeline,
                run(store, number, pipeline, {name: stage(store, name, text) for name, text in keys.items()}),
            )
            for number, (pipeline, keys) in enumerate(history)
        ]
        kept = {
            name
            for index, (pipeline, name) in enumerate(runs)
            if sum(later == pipeline for later, _ in runs[index + 1 :]) < keep
        }
        keys = {
            key_of(n, t)
            for (_, name), (_, used) in zip(runs, history, strict=True)
            for n, t in used.items()
            if name in kept
        }
        digests = {digest_of(store, key) for key in keys}
        maintenance.collect(store, keep, grace_seconds=0)
        assert (set(store.run_ids()), set(store.stage_keys()), set(store.artifacts())) == (
            kept,
            keys,
            digests,
        )
        assert maintenance.verify(store) == []
        assert not any((Path(folder) / "work").iterdir()) if (Path(folder) / "work").exists() else True


def test_a_grace_period_keeps_whatever_no_runs_record_names_yet(store: Store) -> None:
    """A stage whose run's record has not arrived: its folder, its record and its artifact stay for a while."""
    key, used = stage(store, "a", "stray"), stage(store, "a", "used")
    digest = digest_of(store, key)
    lone = store.work("lone") / "out"
    lone.mkdir(parents=True)
    (lone / "file").touch()
    orphan = store.publish(lone, "documents", {})
    run(store, 1, "p", {"a": used})
    (store.work("started")).mkdir(parents=True)
    maintenance.collect(store, 0)
    assert (set(store.artifacts()), store.stage_keys()) == ({digest, orphan}, [key])
    assert store.work("started").is_dir()
    maintenance.collect(store, 0, grace_seconds=0)
    assert (list(store.artifacts()), store.stage_keys()) == ([], [])
    assert not store.work("started").exists()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"stages": []}'])
def test_collecting_refuses_while_it_cannot_tell_what_a_run_used(store: Store, data: bytes) -> None:
    key = stage(store, "a", "one")
    name = run(store, 1, "p", {"a": key})
    store.backend.write(f"runs/{name}/run.json", data)
    with pytest.raises(StoreError, match=rf"runs/{name}/run\.json cannot be read"):
        maintenance.collect(store, 0, grace_seconds=0)
    assert store.stage_keys() == [key]
    assert [item.path for item in maintenance.verify(store)] == [f"runs/{name}/run.json"]


def test_collecting_refuses_while_it_cannot_tell_what_a_stage_made(store: Store) -> None:
    key, other = stage(store, "a", "one"), stage(store, "b", "two")
    run(store, 1, "p", {"a": key})
    store.backend.write(f"stages/{key}.json", b"")
    with pytest.raises(StoreError, match=rf"stages/{key}\.json cannot be read"):
        maintenance.collect(store, 1, grace_seconds=0)
    assert other in store.stage_keys()


def edited(store: Store, key: str, **changes: Any) -> None:
    """Edits a record as somebody does who also seals it again."""
    record = store.record(key)
    assert record is not None
    store.write_record(dataclasses.replace(record, **changes))


@pytest.mark.parametrize(
    "change", [{"metrics": {"n": 2}}, {"config": {"text": "two"}}, {"seed": 1}, {"code": "d"}]
)
def test_verify_finds_a_record_that_was_edited_and_sealed_again(store: Store, change: dict[str, Any]) -> None:
    key = stage(store, "a", "one")
    edited(store, key, **change)
    assert {item.path for item in maintenance.verify(store)} == {f"stages/{key}.json"}


def test_verify_finds_outputs_that_were_swapped(store: Store) -> None:
    keys = [stage(store, "a", "one"), stage(store, "a", "two")]
    outputs = [{"out": {"digest": digest_of(store, key), "kind": "documents"}} for key in keys]
    for key, swapped in zip(keys, reversed(outputs), strict=True):
        edited(store, key, outputs=swapped)
    assert sorted(item.path for item in maintenance.verify(store)) == sorted(
        f"stages/{key}.json" for key in keys
    )


def test_verify_goes_on_after_a_file_that_cannot_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (stage(store, "a", text) for text in ("one", "two"))
    opened = store.backend.open

    def failing(path: str) -> Any:
        if digest_of(store, first) in path and path.endswith("/.zarray"):
            raise OSError(5, "Input/output error")
        return opened(path)

    monkeypatch.setattr(store.backend, "open", failing)
    monkeypatch.setattr(
        maintenance, "file_digest", lambda handle: {"sha256": "0", "bytes": len(handle.read())}
    )
    found = [item for item in maintenance.verify(store) if item.path.startswith("artifacts")]
    assert len(found) == 4
    assert sum("cannot be read" in item.problem for item in found) == 1
    assert sum(item.path.endswith(digest_of(store, second)) for item in found) == 2


def test_verify_reads_the_copies_of_an_object_stores_artifacts(tmp_path: Path) -> None:
    opened = Store(str(tmp_path / "cache"))
    opened.backend, opened.is_local = (
        backends.RemoteBackend(f"file://{tmp_path}/remote", opened.scratch),
        False,
    )
    digest = digest_of(opened, stage(opened, "a", "one"))
    copy = opened.folder(digest) / "file"
    copy.chmod(0o644)
    copy.write_text("onE")
    (found,) = maintenance.verify(opened)
    assert (found.path, found.remedy) == (
        f"{opened.scratch}/artifacts/{digest[:2]}/{digest}",
        "remove the folder: it is a copy, and fetched again",
    )


def test_copies_behind_an_artifact_with_a_damaged_manifest_are_read_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.backend, store.is_local = backends.RemoteBackend(f"file://{tmp_path}/remote", store.scratch), False
    digests = sorted(digest_of(store, stage(store, "a", text)) for text in ("one", "two"))
    first = tmp_path / "remote/artifacts" / digests[0][:2] / digests[0]
    (first / "manifest.json").chmod(0o644)
    (first / "manifest.json").write_text("{")
    copy = store.folder(digests[1]) / "file"
    copy.chmod(0o644)
    copy.write_text("rot")
    assert any(
        str(store.scratch) in item.path and digests[1] in item.path for item in maintenance.verify(store)
    )
