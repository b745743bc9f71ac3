"""Maintenance of a store: finds bit rot, and frees everything that no kept run reaches."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .store import Store, StoreError, artifact_digest, artifact_path, digests_of


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
    """Reads every artifact and record again and compares with what was written.

    Args:
        store: The store.
        progress: Told how many artifacts are done, of how many.

    Returns:
        Everything that is damaged; empty for a sound store.
    """
    damage: list[Damage] = []
    digests = list(_all_artifacts(store))
    for index, digest in enumerate(digests):
        damage.extend(_verify_artifact(store, digest))
        progress(index + 1, len(digests))
    there = set(store.artifacts()) | {item.path.rpartition("/")[2] for item in damage}
    for key in store.stage_keys():
        path = f"stages/{key}.json"
        try:
            record = store.record(key)
        except StoreError as error:
            damage.append(Damage(path, str(error), "remove the file; the stage runs again"))
            continue
        for port, output in record.outputs.items() if record else ():
            if output["digest"] not in there:
                damage.append(
                    Damage(
                        path,
                        f"its output {port} {output['digest'][:12]} is missing",
                        "run the pipeline: the stage runs again",
                    )
                )
    return damage


def collect(store: Store, keep_runs: int, *, dry_run: bool = False) -> Freed:
    """Removes runs, records, artifacts and work folders that the newest runs do not reach.

    The newest run that ended well is kept too, however many failed after it, and so are the checkpoints of stages that
    a kept run has started and not finished.

    Args:
        store: The store.
        keep_runs: How many of the newest runs of each pipeline to keep; 0 keeps nothing at all.
        dry_run: Only say what would go.

    Raises:
        StoreError: A run is in progress.
    """
    with _alone(store):
        kept: dict[str, int] = {}
        done: set[str] = set()
        runs: list[str] = []
        keys: set[str] = set()
        for run in reversed(store.run_ids()):
            state = store.read_run(run) or {}
            pipeline = str(state.get("pipeline"))
            newest_done = state.get("status") == "done" and pipeline not in done and keep_runs > 0
            if kept.get(pipeline, 0) >= keep_runs and not newest_done:
                runs.append(run)
                continue
            kept[pipeline] = kept.get(pipeline, 0) + 1
            if state.get("status") == "done":
                done.add(pipeline)
            keys.update(stage["key"] for stage in state.get("stages", {}).values() if stage.get("key"))
        reached: set[str] = set()
        for key in keys:
            record = store.record(key)
            reached.update(output["digest"] for output in record.outputs.values()) if record else None
        records = [key for key in store.stage_keys() if key not in keys]
        artifacts = [digest for digest in _all_artifacts(store) if digest not in reached]
        started = os.listdir(store.scratch / "work") if (store.scratch / "work").is_dir() else []
        finished = set(store.stage_keys())
        work = sorted(name for name in started if name not in keys or name in finished)
        size = sum(store.backend.bytes_of(artifact_path(digest)) for digest in artifacts)
        for name in work:
            size += sum(
                file.stat().st_size for file in (store.scratch / "work" / name).rglob("*") if file.is_file()
            )
        if not dry_run:
            for key in records:
                store.backend.remove(f"stages/{key}.json")
            for digest in artifacts:
                store.backend.remove(artifact_path(digest))
                if not store.is_local:
                    shutil.rmtree(store.scratch / artifact_path(digest), ignore_errors=True)
            for name in work:
                shutil.rmtree(store.scratch / "work" / name, ignore_errors=True)
            for run in runs:
                store.backend.remove(f"runs/{run}")
                shutil.rmtree(store.scratch / "runs" / run, ignore_errors=True)
            _sweep(store)
    return Freed(tuple(runs), tuple(records), tuple(artifacts), tuple(work), size)


def _verify_artifact(store: Store, digest: str) -> Iterator[Damage]:
    path = artifact_path(digest)
    remedy = "remove the folder and run the pipeline: the stage that made it runs again"
    try:
        manifest = store.manifest(digest)
    except ValueError as error:
        yield Damage(path, f"its manifest cannot be read ({error})", remedy)
        return
    if manifest is None:
        if store.is_local:  # on an object store this is an upload that was cut off, and not an artifact yet
            yield Damage(path, "it has no manifest", remedy)
        return
    if not isinstance(manifest, dict) or not {"kind", "files"} <= manifest.keys():
        yield Damage(path, "its manifest is not one", remedy)
        return
    found = digests_of(store.backend.files(path))
    for name in sorted(manifest["files"].keys() | found.keys()):
        if name not in found:
            yield Damage(path, f"{name} is missing", remedy)
        elif name not in manifest["files"]:
            yield Damage(path, f"{name} was added", remedy)
        elif manifest["files"][name] != found[name]:
            yield Damage(
                path, f"{name} is not what was written (SHA-256 {found[name]['sha256'][:12]})", remedy
            )
    if artifact_digest(manifest["kind"], manifest["files"]) != digest:
        yield Damage(path, "its manifest does not match its digest", remedy)


def _all_artifacts(store: Store) -> Iterator[str]:
    """Digests of every artifact folder, with or without a manifest."""
    for prefix in store.backend.names("artifacts"):
        yield from store.backend.names(f"artifacts/{prefix}")


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
    store.scratch.mkdir(parents=True, exist_ok=True)
    with open(store.scratch / "lock", "a", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"a run is using the store {store.uri}; wait for it to end, then collect again"
            ) from None
        yield
