"""The store: immutable artifacts by content, one record per finished stage key, and runs.

    artifacts/ab/abcdef…/      files + manifest.json   immutable
    stages/<stage key>.json    outputs -> digests, metrics, run, timings         written once, last
    work/<stage key>/          private to a running stage: resumable
    runs/<run id>/             resolved spec, events.jsonl, logs/

The digest of an artifact covers its kind and the name, size and SHA-256 of every file, and not its manifest, which
also says who made it: the same bytes made twice are one artifact. A stage record is written after every output is
published, so it never points at something half there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from .backends import MANIFEST, Backend, LocalBackend, RemoteBackend

FORMAT = 1
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class StageRecord:
    """A finished stage key as the store remembers it.

    Attributes:
        key: The stage key.
        stage: Its name in the spec that ran it.
        component: What it used.
        config: The semantic configuration.
        seed: The spec's seed.
        inputs: Port -> digest, or label -> digest.
        fingerprint: What it read outside the store.
        code: Digest of the code.
        modules: Module -> definition -> digest, for saying later what changed.
        outputs: Port -> {"digest", "kind"}.
        metrics: Results.
        run: The run that made it.
        started: Seconds since the epoch.
        seconds: Wall time.
        peak_bytes: Peak memory of its process.
        versions: Distribution -> version.
        adopted_from: The stage key whose outputs were accepted for changed code, or None.
        lineage: The upstream records that it read, or None.
    """

    key: str
    stage: str
    component: str
    config: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, Any]
    fingerprint: Any
    code: str
    modules: Mapping[str, Mapping[str, str]]
    outputs: Mapping[str, Mapping[str, str]]
    metrics: Mapping[str, float]
    run: str
    started: float
    seconds: float
    peak_bytes: int
    versions: Mapping[str, str]
    adopted_from: str | None = None
    lineage: Any = None
    format: int = field(default=FORMAT)

    def to_json(self) -> bytes:
        """The record's file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> StageRecord:
        """Reads a record's file."""
        return cls(**json.loads(data))


class StoreError(Exception):
    """The store cannot do what was asked: says what was got and what to do."""


class Store:
    """A store at a local folder or an fsspec URI."""

    def __init__(self, uri: str) -> None:
        for local in ("file://", "local://"):
            uri = uri.removeprefix(local)  # a folder gives renames, which fsspec's file system does not
        self.uri = uri
        self.is_local = "://" not in uri
        if self.is_local:
            self.backend: Backend = LocalBackend(Path(uri))
            self.scratch = Path(uri)
        else:
            from millrace.pipelines.plan.code_identity import cache_folder

            name = hashlib.sha256(uri.encode()).hexdigest()[:16]
            self.scratch = cache_folder() / "stores" / name
            try:
                self.backend = RemoteBackend(uri, self.scratch)
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
        for path in folder.rglob("*"):
            if path.is_symlink() or path == folder / MANIFEST:
                raise StoreError(
                    f"got {path.name} in an output, expected files of its own and no {MANIFEST} or symbolic link; "
                    "this is a defect of the component"
                )
        files = file_digests(folder)
        digest = artifact_digest(kind, files)
        if self.backend.exists(f"{artifact_path(digest)}/{MANIFEST}"):
            shutil.rmtree(folder)
            return digest
        manifest = {"format": FORMAT, "digest": digest, "kind": kind, "files": files, "producer": producer}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        self.backend.publish(folder, artifact_path(digest))
        return digest

    def manifest(self, digest: str) -> dict[str, Any] | None:
        """An artifact's manifest, or None when the store does not have it."""
        data = self.backend.read(f"{artifact_path(digest)}/{MANIFEST}")
        return json.loads(data) if data is not None else None

    def has(self, digest: str) -> bool:
        """Whether the artifact is there."""
        return self.backend.exists(f"{artifact_path(digest)}/{MANIFEST}")

    def folder(self, digest: str) -> Path:
        """A local folder with the artifact's files."""
        return self.backend.local(artifact_path(digest))

    def open_file(self, digest: str, name: str) -> BinaryIO:
        """One file of an artifact, opened for reading; on an object store only what is read travels.

        Raises:
            FileNotFoundError: The store does not have it.
        """
        path = f"{artifact_path(digest)}/{name}"
        if isinstance(self.backend, RemoteBackend):
            return cast(BinaryIO, self.backend.fs.open(f"{self.backend.root}/{path}", "rb"))
        return (self.scratch / path).open("rb")

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
            return StageRecord.from_json(data)
        except (ValueError, TypeError) as error:
            path = f"{self.uri}/stages/{key}.json"
            raise StoreError(
                f"{path} cannot be read ({error}); remove the file and the stage runs again"
            ) from error

    def reusable(self, key: str) -> StageRecord | None:
        """The record of a stage key whose artifacts are all still there, or None."""
        record = self.record(key)
        if record is None or not all(self.has(output["digest"]) for output in record.outputs.values()):
            return None
        return record

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
        """Held by every run, so that `store gc` knows when it may remove what no record names yet."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        with open(self.scratch / "lock", "a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield

    # Runs

    def run_ids(self) -> list[str]:
        """Every run's id, oldest first."""
        return self.backend.names("runs")

    def read_run(self, run: str, name: str = "run.json") -> Any:
        """A JSON file of a run, or None."""
        data = self.backend.read(f"runs/{run}/{name}")
        try:
            return json.loads(data) if data is not None else None
        except ValueError:
            return None

    def write_run(self, run: str, name: str, value: Any) -> None:
        """Writes a JSON file of a run."""
        self.backend.write(f"runs/{run}/{name}", json.dumps(value, indent=1).encode())

    def run_folder(self, run: str) -> Path:
        """The local folder of a run's events and logs."""
        return self.scratch / "runs" / run


def artifact_path(digest: str) -> str:
    """Where an artifact is, relative to the store."""
    return f"artifacts/{digest[:2]}/{digest}"


def file_digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative path -> {"sha256", "bytes"} of every file but the manifest."""
    return digests_of(LocalBackend(folder).files("."))


def digests_of(files: Iterable[tuple[str, BinaryIO]]) -> dict[str, dict[str, Any]]:
    """Relative path -> {"sha256", "bytes"} of open files, all but the manifest."""
    found = {}
    for name, handle in files:
        if name != MANIFEST:
            state, size = hashlib.sha256(), 0
            while block := handle.read(READ_BYTES):
                state.update(block)
                size += len(block)
            found[name] = {"sha256": state.hexdigest(), "bytes": size}
    return found


def artifact_digest(kind: str, files: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of an artifact with these files."""
    from . import canonical

    return canonical.digest({"kind": kind, "files": files})
