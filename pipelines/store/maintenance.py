"""Maintenance of a store: finds bit rot, and frees everything that no kept run reaches."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from . import intact, lease
from .backends import MANIFEST, Backend, LocalBackend
from .errors import DamagedError, StoreError
from .record import StageRecord
from .store import SPEC, Store, artifact_path, file_digest

GRACE_SECONDS = 3600.0


@dataclass(frozen=True)
class Damage:
    """One thing in a store that is not as it was written.

    Attributes:
        path: Where, relative to the store.
        problem: What is wrong.
        remedy: What to do.
    """

    path: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Freed:
    """Everything that a collection removed, or would remove.

    Attributes:
        runs: Run ids.
        records: Stage keys.
        artifacts: Artifact digests.
        work: Work folders.
        bytes: Size of all of it.
    """

    runs: tuple[str, ...]
    records: tuple[str, ...]
    artifacts: tuple[str, ...]
    work: tuple[str, ...]
    bytes: int


def verify(store: Store, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Damage]:
    """Reads every artifact, record and run again and compares with what was written.

    Of an object store the copies on this machine are read too. Every key is computed again from its record, and every
    artifact compared with the record of the stage that made it.

    Args:
        store: The store.
        progress: Told how many artifacts are done, of how many.

    Returns:
        Everything that is damaged; empty for a sound store.
    """
    damage: list[Damage] = []
    producers: dict[str, Mapping[str, Any]] = {}
    digests = list(_all_artifacts(store.backend))
    for index, digest in enumerate(digests):
        damage.extend(_verify_artifact(store, digest, producers))
        progress(index + 1, len(digests))
    if not store.is_local:
        damage.extend(_verify_copies(store))
    damage.extend(_verify_records(store, producers, set(digests)))
    for run in store.run_ids():
        for name in ("run.json", SPEC):
            try:
                store.read_run(run, name)
            except StoreError as error:
                remedy = "remove the file if you can do without it"
                damage.append(Damage(f"runs/{run}/{name}", str(error), remedy))
    return damage


def collect(
    store: Store, keep_runs: int, *, dry_run: bool = False, grace_seconds: float = GRACE_SECONDS
) -> Freed:
    """Removes runs, records, artifacts and work folders that the newest runs do not reach.

    The newest run that ended well is kept too, however many failed after it, and so are the checkpoints of stages that
    a kept run has started and not finished.

    Args:
        store: The store.
        keep_runs: How many of the newest runs of each pipeline to keep; 0 keeps none.
        dry_run: Only say what would go.
        grace_seconds: Anything that no run's record names is kept for this long after it was written: it may belong to
            a run whose record has not arrived yet.

    Raises:
        StoreError: A run is in progress, or the state of a run cannot be read, so that nobody knows what it uses.
    """
    with _alone(store):
        now = store.backend.now()

        def is_young(path: str) -> bool:
            written = store.backend.modified(path)
            return written is None or now - written < grace_seconds

        runs, named, keys = _reach(store, keep_runs, is_young)

        finished = store.stage_keys()
        outputs = {key: _outputs(store, key) for key in finished}
        records = [
            key
            for key in finished
            if key in named - keys or (key not in named and not is_young(f"stages/{key}.json"))
        ]
        reached = set[str]().union(*(outputs[key] for key in outputs.keys() - set(records)))
        dropped = set[str]().union(*(outputs[key] for key in records))
        artifacts = [
            digest
            for digest in _all_artifacts(store.backend)
            if digest not in reached
            and (digest in dropped or not is_young(f"{artifact_path(digest)}/{MANIFEST}"))
        ]
        work = [
            name for name in _work(store) if _is_spent(store, name, keys, named, set(finished), grace_seconds)
        ]
        size = sum(store.backend.bytes_of(artifact_path(digest)) for digest in artifacts)
        size += sum(LocalBackend(store.scratch).bytes_of(f"work/{name}") for name in work)
        if not dry_run:
            _remove(store, runs, records, artifacts, work)
    return Freed(tuple(runs), tuple(records), tuple(artifacts), tuple(work), size)


def _reach(
    store: Store, keep_runs: int, is_young: Callable[[str], bool]
) -> tuple[list[str], set[str], set[str]]:
    """The runs that go; the stage keys that any run names; those that a kept one names.

    A run that says it is running and was heard of lately is kept: on a cluster nothing runs between two stages.
    """
    kept: dict[str, int] = {}
    done: set[str] = set()
    runs: list[str] = []
    named: set[str] = set()
    keys: set[str] = set()
    for run in reversed(store.run_ids()):
        state = store.read_run(run) or {}
        own = {str(stage["key"]) for stage in state.get("stages", {}).values() if stage.get("key")}
        named |= own
        pipeline = str(state.get("pipeline"))
        newest_done = state.get("status") == "done" and pipeline not in done and keep_runs > 0
        is_under_way = state.get("status") == "running" and is_young(f"runs/{run}/run.json")
        if kept.get(pipeline, 0) >= keep_runs and not newest_done and not is_under_way:
            runs.append(run)
            continue
        kept[pipeline] = kept.get(pipeline, 0) + 1
        if state.get("status") == "done":
            done.add(pipeline)
        keys |= own
    return runs, named, keys


def _outputs(store: Store, key: str) -> set[str]:
    """The artifacts of a finished stage key.

    Raises:
        StoreError: Its record cannot be read.
    """
    record = store.record(key)
    return {output["digest"] for output in record.outputs.values()} if record else set()


def _work(store: Store) -> list[str]:
    folder = store.scratch / "work"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _is_spent(
    store: Store, name: str, keys: set[str], named: set[str], finished: set[str], grace_seconds: float
) -> bool:
    """Whether a work folder is of a finished stage, or of one that no kept run has started."""
    if name in keys or name in finished:
        return name in finished
    young = time.time() - (store.scratch / "work" / name).stat().st_mtime < grace_seconds
    return name in named or not young


def _remove(
    store: Store, runs: Iterable[str], records: Iterable[str], artifacts: Iterable[str], work: Iterable[str]
) -> None:
    """Removes in an order that a kill at any moment leaves sound: no record points at an artifact that went first."""
    for key in records:
        store.backend.remove(f"stages/{key}.json")
    for digest in artifacts:
        store.backend.remove(artifact_path(digest))
        intact.forget(store.scratch, digest)
        if not store.is_local:
            shutil.rmtree(store.scratch / artifact_path(digest), ignore_errors=True)
    for name in work:
        shutil.rmtree(store.scratch / "work" / name, ignore_errors=True)
    for run in runs:
        store.backend.remove(f"runs/{run}")
        shutil.rmtree(store.scratch / "runs" / run, ignore_errors=True)
    _sweep(store)


REMEDY = "run the pipeline: the stage that made it runs again"


def _verify_artifact(store: Store, digest: str, producers: dict[str, Mapping[str, Any]]) -> Iterator[Damage]:
    path = artifact_path(digest)
    try:
        manifest = store.manifest(digest)
    except DamagedError as error:
        yield Damage(path, f"its manifest cannot be read ({error})", f"remove the folder and {REMEDY}")
        return
    if manifest is None:
        if store.is_local:  # on an object store this is an upload that was cut off, and not an artifact yet
            yield Damage(path, "it has no manifest", f"remove the folder and {REMEDY}")
        return
    producers[digest] = manifest["producer"]
    yield from _compare(store.backend, path, manifest["files"])


def _compare(backend: Backend, path: str, files: Mapping[str, Any]) -> Iterator[Damage]:
    """Compares the files of a folder with a manifest's; one that cannot be read does not keep the others from it."""
    found: dict[str, Any] = {}
    for name in backend.tree(path):
        if name == MANIFEST:
            continue
        if name not in files:
            yield Damage(path, f"{name} was added", "remove it")
            continue
        try:
            with backend.open(f"{path}/{name}") as handle:
                found[name] = file_digest(handle)
        except OSError as error:
            found[name] = None
            yield Damage(path, f"{name} cannot be read ({error})", REMEDY)
    for name in sorted(files):
        if name not in found:
            yield Damage(path, f"{name} is missing", REMEDY)
        elif found[name] is not None and found[name] != files[name]:
            yield Damage(
                path, f"{name} is not what was written (SHA-256 {found[name]['sha256'][:12]})", REMEDY
            )


def _verify_copies(store: Store) -> Iterator[Damage]:
    """Reads the copies of an object store's artifacts on this machine."""
    copies = LocalBackend(store.scratch)
    for digest in _all_artifacts(copies):
        try:
            manifest = store.manifest(digest)
        except DamagedError:
            continue  # said already
        if manifest is not None:
            for item in _compare(copies, artifact_path(digest), manifest["files"]):
                where = f"{store.scratch}/{item.path}"
                yield Damage(where, item.problem, "remove the folder: it is a copy, and fetched again")


def _verify_records(
    store: Store, producers: Mapping[str, Mapping[str, Any]], digests: set[str]
) -> Iterator[Damage]:
    records: dict[str, StageRecord] = {}
    for key in store.stage_keys():
        path = f"stages/{key}.json"
        try:
            record = store.record(key)
        except StoreError as error:
            yield Damage(path, str(error), "remove the file; the stage runs again")
            continue
        if record is None:
            continue
        records[key] = record
        if record.computed_key != key:
            yield Damage(
                path,
                "it is not of this key: something in it was changed",
                "remove the file; the stage runs again",
            )
        for port, output in record.outputs.items():
            if output["digest"] not in digests:
                yield Damage(path, f"its output {port} {output['digest'][:12]} is missing", REMEDY)
    for digest, producer in producers.items():
        maker = records.get(str(producer.get("key")))
        if maker is None or maker.run != producer.get("run"):  # made twice: seconds and speeds differ
            continue
        yield from (
            Damage(
                f"stages/{maker.key}.json",
                f"its {name} differ from those in the manifest of {digest[:12]}, which it made",
                "remove the file; the stage runs again",
            )
            for name in ("component", "config", "seed", "inputs", "code", "metrics")
            if name in producer and producer[name] != getattr(maker, name)
        )
        output_port = producer.get("port")
        made_there = (
            maker.outputs.get(output_port, {}).get("digest") if isinstance(output_port, str) else digest
        )
        if made_there != digest:
            yield Damage(
                f"stages/{maker.key}.json",
                f"its output {output_port} is not {digest[:12]}, which it made",
                "remove the file; the stage runs again",
            )


def _all_artifacts(backend: Backend) -> Iterator[str]:
    """Digests of every artifact folder, with or without a manifest."""
    for prefix in backend.names("artifacts"):
        yield from backend.names(f"artifacts/{prefix}")


def _sweep(store: Store) -> None:
    """Removes the unfinished files of killed processes; nobody else is writing now."""
    # No deeper than this: an artifact may have hidden files of its own.
    for pattern in ("artifacts/*/.*", "stages/.*", "runs/.*"):
        for path in list(store.scratch.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """While no run of this machine uses the store, nor one of any other machine an object store."""
    store.scratch.mkdir(parents=True, exist_ok=True)
    with open(store.scratch / "lock", "a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"a run is using the store {store.uri}; wait for it to end, then collect again"
            ) from None
        if store.is_local:
            yield
            return
        with lease.held(store.backend, "collection"):
            if found := lease.holders(store.backend, "run"):
                raise StoreError(
                    f"{found[0]} is using the store {store.uri}; wait for it to end, then collect again. If it was "
                    f"killed, its lease expires within {lease.EXPIRY_SECONDS / 60:.0f} minutes"
                )
            yield
