"""The store: immutable artifacts by content, one record per finished stage key, and runs.

    artifacts/ab/abcdef…/      files + manifest.json   immutable
    stages/<stage key>.json    outputs -> digests, metrics, run, timings         written once, last
    work/<stage key>/          private to a running stage: resumable
    runs/<run id>/             resolved spec, events.jsonl, logs/

The digest of an artifact covers its kind and the name, size and SHA-256 of every file, and not its manifest, which
also says who made it: the same bytes made twice are one artifact. A stage record is written after every output is
published, so it never points at something half there. Manifests, records and the states of runs are sealed (``seal``);
``intact`` tells whether an artifact's files are still as they were written.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from . import canonical, intact, lease
from .backends import MANIFEST, Backend, LocalBackend, RemoteBackend
from .errors import DamagedError, StoreError
from .record import StageRecord
from .seal import seal, unseal

READ_BYTES = 1 << 20
TIMEOUT_SECONDS = 120.0
SPEC, SPEC_DIGEST = "spec.json", "spec.sha256"
RUN_NUMBER = re.compile(r"(\d+)-\d{8}-")


class Store:
    """A store at a local folder or an fsspec URI.

    Args:
        uri: The folder or URI.
        timeout_seconds: How long an object store is tried again while it does not answer.
    """

    def __init__(self, uri: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        if "\0" in uri or not uri:
            raise StoreError(f"got the store {uri!r}, expected a folder or an fsspec URI")
        for local in ("file://", "local://"):
            uri = uri.removeprefix(local)  # a folder gives renames, which fsspec's file system does not
        self.uri = uri
        self._sound = set[str]()  # artifacts that were checked when a file of them was opened
        self.is_local = "://" not in uri
        if self.is_local:
            self.backend: Backend = LocalBackend(Path(uri))
            self.scratch = Path(uri)
        else:
            from millrace.pipelines.plan.code_identity import cache_folder

            name = hashlib.sha256(uri.encode()).hexdigest()[:16]
            self.scratch = cache_folder() / "stores" / name
            try:
                self.backend = RemoteBackend(uri, self.scratch, timeout_seconds)
            except (ImportError, ValueError) as error:
                raise StoreError(
                    f"the store {uri} cannot be opened: {error}; expected a folder or an fsspec URI "
                    "(s3:// and gs:// need `pip install millrace[s3]` or `millrace[gcs]`)"
                ) from None

    # Artifacts

    def publish(self, folder: Path, kind: str, producer: Mapping[str, Any]) -> str:
        """Makes a finished folder an artifact.

        Args:
            folder: A folder of this store's work area; it is gone afterwards.
            kind: The artifact's kind.
            producer: Who made it, for the manifest.

        Returns:
            The artifact's digest.

        Raises:
            StoreError: The folder holds something that an artifact cannot.
        """
        for file in folder.rglob("*"):
            if file.is_symlink() or file == folder / MANIFEST:
                raise StoreError(
                    f"got {file.name} in an output, expected files of its own and no {MANIFEST} or symbolic link; "
                    "this is a defect of the component"
                )
        files = file_digests(folder)
        digest = artifact_digest(kind, files)
        path = artifact_path(digest)
        if self.has(digest):
            if self.damage(digest) is None:
                shutil.rmtree(folder)
                return digest
            self.backend.remove(path)  # the same bytes again, this time as they were written
        manifest = {"digest": digest, "kind": kind, "files": files, "producer": producer}
        (folder / MANIFEST).write_bytes(seal(manifest))
        self.backend.publish(folder, path)
        intact.remember(self.scratch, digest, self.scratch / path, files)
        return digest

    def manifest(self, digest: str) -> dict[str, Any] | None:
        """An artifact's manifest, or None when the store does not have it.

        Raises:
            DamagedError: It cannot be read, or is another artifact's.
        """
        path = f"{artifact_path(digest)}/{MANIFEST}"
        data = self.backend.read(path)
        if data is None:
            return None
        try:
            manifest = unseal(data)
            kind, files = manifest["kind"], manifest["files"]
            if artifact_digest(kind, files) != digest:
                raise ValueError("it does not match its digest")
            outside = [name for name in files if not is_inside(name)]
            if outside:
                raise ValueError(f"it names {outside[0]!r}, which is outside of the artifact")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise DamagedError(
                f"{self.uri}/{path} cannot be read: {what}; remove {digest[:12]}'s folder and run the pipeline: "
                "the stage that made it runs again"
            ) from None
        return manifest

    def has(self, digest: str) -> bool:
        """Whether the artifact is there."""
        return self.backend.exists(f"{artifact_path(digest)}/{MANIFEST}")

    def folder(self, digest: str) -> Path:
        """A local folder with the artifact's files, as the store has them.

        Raises:
            StoreError: The store does not have the artifact, or its manifest cannot be read.
        """
        return self.backend.local(artifact_path(digest), self._files(digest))

    def take(self, digest: str) -> Path:
        """A local folder with the artifact's files, every one checked against its digest.

        A damaged copy of an object store's artifact is fetched again.

        Raises:
            DamagedError: The artifact itself is damaged; names the first file.
            StoreError: The store does not have it.
        """
        folder = self.folder(digest)
        problem = self.damage(digest)
        if problem is not None and not self.is_local:
            shutil.rmtree(folder, ignore_errors=True)
            folder = self.folder(digest)
            problem = self.damage(digest)
        if problem is not None:
            raise DamagedError(self._again(digest, problem))
        return folder

    def _again(self, digest: str, problem: str) -> str:
        return (
            f"the artifact {digest[:12]} {problem}; run the pipeline again: the stage that made it runs again. "
            f"It is in {self.uri}/{artifact_path(digest)}"
        )

    def damage(self, digest: str, *, read: bool = True) -> str | None:
        """Says what is wrong with an artifact, or None when its files on this machine are as they were written.

        Args:
            digest: The artifact.
            read: Whether to hash files that this machine has not seen since they were written; files that changed
                since it saw them are hashed in any case.
        """
        try:
            manifest = self.manifest(digest)
        except DamagedError as error:
            return f"is damaged: {error}"
        if manifest is None:
            return "is no longer in the store"
        folder = self.scratch / artifact_path(digest)
        problem = intact.damage(self.scratch, digest, folder, manifest["files"], read=read)
        return problem and f"is damaged: {problem}"

    def _files(self, digest: str) -> dict[str, dict[str, Any]]:
        manifest = self.manifest(digest)
        if manifest is None:
            raise StoreError(f"the store {self.uri} has no artifact {digest[:12]}")
        files: dict[str, dict[str, Any]] = manifest["files"]
        return files

    def open_file(self, digest: str, name: str) -> BinaryIO:
        """One file of an artifact, opened for reading; on an object store only what is read travels.

        Raises:
            FileNotFoundError: The store does not have it.
            DamagedError: A file of the artifact on this machine changed since it was last seen.
        """
        if digest not in self._sound:
            if self.has(digest) and (problem := self.damage(digest, read=False)):
                raise DamagedError(self._again(digest, problem))
            self._sound.add(digest)
        return self.backend.open(f"{artifact_path(digest)}/{name}")

    def artifacts(self) -> Iterator[str]:
        """Digests of every artifact, sorted."""
        for prefix in self.backend.names("artifacts"):
            yield from (name for name in self.backend.names(f"artifacts/{prefix}") if self.has(name))

    def find(self, prefix: str) -> list[str]:
        """Digests that start with these hex digits."""
        if len(prefix) < 2:
            return [digest for digest in self.artifacts() if digest.startswith(prefix)]
        return [
            name
            for name in self.backend.names(f"artifacts/{prefix[:2]}")
            if name.startswith(prefix) and self.has(name)
        ]

    # Stages

    def record(self, key: str) -> StageRecord | None:
        """The record of a finished stage key, or None.

        Raises:
            StoreError: The record is there and cannot be read.
        """
        data = self.backend.read(f"stages/{key}.json")
        if data is None:
            return None
        try:
            record = StageRecord.from_json(data)
            if record.key != key:
                raise ValueError(f"it is the record of {record.key[:12]}")
        except ValueError as error:
            path = f"{self.uri}/stages/{key}.json"
            raise StoreError(
                f"{path} cannot be read: {error}; remove the file and the stage runs again"
            ) from None
        return record

    def reusable(self, key: str, *, read: bool = False) -> StageRecord | None:
        """The record of a stage key whose artifacts are all there and not known to be damaged, or None.

        Args:
            key: The stage key.
            read: As of ``damage``.
        """
        record = self.record(key)
        return None if record is None or self.lost(record, read=read) else record

    def lost(self, record: StageRecord, *, read: bool = False) -> str | None:
        """Says which of a record's artifacts is gone or damaged, or None when all can be used."""
        for port, output in record.outputs.items():
            problem = self.damage(output["digest"], read=read)
            if problem is not None:
                return f"its artifact {port} {output['digest'][:12]} {problem}"
        return None

    def write_record(self, record: StageRecord) -> None:
        """Writes a stage's record: the mark that it is done."""
        self.backend.write(f"stages/{record.key}.json", record.to_json())

    def stage_keys(self) -> list[str]:
        """Every finished stage key."""
        return [name.removesuffix(".json") for name in self.backend.names("stages")]

    # Work

    def work(self, key: str) -> Path:
        """The private folder of a stage key, on this machine."""
        return self.scratch / "work" / key

    @contextmanager
    def lock(self, key: str) -> Iterator[Path]:
        """Holds a stage key's work folder for one process of this machine; a killed holder lets go by itself.

        On an object store two machines may work on one key at once: both publish the same bytes.
        """
        folder = self.work(key)
        while True:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            except (FileExistsError, FileNotFoundError):
                if folder.exists() and not folder.is_dir():
                    raise
                continue  # the holder finished and removed the folder just now
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                current = os.stat(folder / "lock")
            except FileNotFoundError:
                os.close(handle)
                continue
            if current.st_ino == os.fstat(handle).st_ino:
                break
            os.close(handle)
        try:
            yield folder
        finally:
            os.close(handle)

    def forget_work(self, key: str) -> None:
        """Removes the work folder of a finished stage, which a process killed right after the record leaves."""
        if self.work(key).exists():
            with self.lock(key) as folder:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Held by every run, so that `store gc` knows when it may remove what no record names yet.

        A folder has a lock, which ends with the process; an object store has leases besides, for other machines.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        with open(self.scratch / "lock", "a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if self.is_local:
                yield
                return
            with lease.held(self.backend, "run"):
                lease.wait_for_collections(self.backend)
                yield

    # Runs

    def new_run(self, suffix: str) -> str:
        """The id of a run that begins now: it sorts after every run of the store, whatever the clock says.

        Args:
            suffix: Tells runs apart that begin at the same time.
        """
        number = 1 + max(map(_run_number, self.backend.names("runs")), default=0)
        return f"{number:04d}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{suffix}"

    def run_ids(self) -> list[str]:
        """Every run's id, oldest first."""
        return sorted(self.backend.names("runs"), key=lambda run: (_run_number(run), run))

    def read_run(self, run: str, name: str = "run.json") -> dict[str, Any] | None:
        """The state of a run, or another of its sealed files; None when there is none.

        Raises:
            StoreError: The file is there and cannot be read.
        """
        path = f"runs/{run}/{name}"
        data = self.backend.read(path)
        if data is None:
            return None
        try:
            state = unseal(data)
            if name == SPEC and self.backend.read(f"runs/{run}/{SPEC_DIGEST}") not in (
                None,
                hashlib.sha256(data).hexdigest().encode(),
            ):
                raise ValueError("it was changed after it was written")
            stages = state.get("stages", {})
            if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
                raise ValueError("its stages are not objects")
        except ValueError as error:
            raise StoreError(
                f"{self.uri}/{path} cannot be read: {error}; until the file is gone, nobody can tell which artifacts "
                "the run used: if you can do without it, remove it"
            ) from None
        return state

    def write_run(self, run: str, name: str, value: Mapping[str, Any]) -> None:
        """Writes a sealed file of a run."""
        self.backend.write(f"runs/{run}/{name}", seal(value))

    def write_spec(self, run: str, spec: Mapping[str, Any]) -> None:
        """Writes the resolved spec of a run, as a spec that can be run."""
        data = json.dumps(spec, indent=1).encode()
        self.backend.write(f"runs/{run}/{SPEC_DIGEST}", hashlib.sha256(data).hexdigest().encode())
        self.backend.write(f"runs/{run}/{SPEC}", data)

    def run_folder(self, run: str) -> Path:
        """The local folder of a run's events and logs."""
        return self.scratch / "runs" / run


def artifact_path(digest: str) -> str:
    """Where an artifact is, relative to the store."""
    return f"artifacts/{digest[:2]}/{digest}"


def is_inside(name: str) -> bool:
    """Whether a file's name in a manifest stays in the artifact's folder, on every system."""
    path = PurePosixPath(name)
    return (
        str(path) == name
        and name not in ("", ".", MANIFEST)
        and not path.is_absolute()
        and ".." not in path.parts
        and not set("\\\0") & set(name)
    )


def _run_number(run: str) -> int:
    """The place of a run among the store's runs; 0 for those of versions that did not number them."""
    found = RUN_NUMBER.match(run)
    return int(found[1]) if found else 0


def file_digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative path -> {"sha256", "bytes"} of every file but the manifest."""
    found = {}
    for name in LocalBackend(folder).tree("."):
        if name != MANIFEST:
            with (folder / name).open("rb") as handle:
                found[name] = file_digest(handle)
    return found


def file_digest(handle: BinaryIO) -> dict[str, Any]:
    """{"sha256", "bytes"} of an open file."""
    state, size = hashlib.sha256(), 0
    while block := handle.read(READ_BYTES):
        state.update(block)
        size += len(block)
    return {"sha256": state.hexdigest(), "bytes": size}


def artifact_digest(kind: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of an artifact with these files."""
    return canonical.digest({"kind": kind, "files": files})
