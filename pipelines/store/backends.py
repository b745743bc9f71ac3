"""The files of a store: in a local folder, or in anything that fsspec opens.

Both give the same few operations. A local folder renames whole artifacts into place; an object store has no rename,
so an artifact's manifest is written last and is the commit mark.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast

from .errors import StoreError
from .patience import patiently, said

MANIFEST = "manifest.json"
FOLDERS = ("file", "local", "memory", "sftp", "ssh", "smb", "ftp", "hdfs", "webhdfs", "arrow_hdfs")
T = TypeVar("T")


class Backend(Protocol):
    """Files of one store, by path relative to its root, with ``/`` between parts."""

    uri: str

    def read(self, path: str) -> bytes | None:
        """A small file's bytes, or None when there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Writes a small file so that a reader sees it whole or not at all."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty when there is none."""
        raise NotImplementedError

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        raise NotImplementedError

    def remove(self, path: str) -> None:
        """Removes a file or folder with all in it; nothing happens when there is none."""

    def publish(self, folder: Path, path: str) -> None:
        """Moves a finished local folder with a manifest to its place; keeps what is there already."""

    def local(self, path: str, names: Iterable[str]) -> Path:
        """A local folder with an artifact's files, downloaded if need be; ``names`` are all but the manifest."""
        raise NotImplementedError

    def tree(self, path: str) -> list[str]:
        """Names of all files below a folder, relative to it, sorted."""
        raise NotImplementedError

    def open(self, path: str) -> BinaryIO:
        """Opens the store's own file, not a local copy, for reading; only what is read travels."""
        raise NotImplementedError

    def bytes_of(self, path: str) -> int:
        """Size of a folder's files."""
        raise NotImplementedError

    def modified(self, path: str) -> float | None:
        """When a file was written, in seconds of the store's own clock; None when there is none."""

    def now(self) -> float:
        """The store's own clock, in seconds."""
        raise NotImplementedError


class LocalBackend:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def read(self, path: str) -> bytes | None:
        """A small file's bytes, or None when there is none."""
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, path: str, data: bytes) -> None:
        """Writes aside, flushes to the disk, renames."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with aside.open("xb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _sync(target.parent)

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; files being written are left out."""
        try:
            return sorted(name for name in os.listdir(self.root / folder) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return (self.root / path).exists()

    def remove(self, path: str) -> None:
        """Removes a file or folder with all in it, renaming a folder first so that it vanishes at once."""
        target = self.root / path
        if target.is_dir():
            aside = target.with_name(f".removed-{target.name}-{secrets.token_hex(4)}")
            target.rename(aside)
            shutil.rmtree(aside)
        else:
            target.unlink(missing_ok=True)

    def publish(self, folder: Path, path: str) -> None:
        """Flushes the folder to the disk and renames it into place."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                file.chmod(0o444)
            _sync(file)
        _sync(folder)
        if target.exists() and not (target / MANIFEST).exists():
            self.remove(path)  # a person removed the artifact's manifest and left the rest
        if not _same_device(folder, target.parent):
            folder = _moved(folder, target)
        try:
            folder.rename(target)
        except OSError:
            if not (target / MANIFEST).exists():
                raise
            shutil.rmtree(folder)
        _sync(target.parent)

    def local(self, path: str, names: Iterable[str]) -> Path:
        """The folder itself."""
        return self.root / path

    def tree(self, path: str) -> list[str]:
        """Names of all files below a folder, relative to it, sorted."""
        folder = self.root / path
        return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())

    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading."""
        return (self.root / path).open("rb")

    def bytes_of(self, path: str) -> int:
        """Size of a folder's files."""
        return sum(file.stat().st_size for file in (self.root / path).rglob("*") if file.is_file())

    def modified(self, path: str) -> float | None:
        """When a file was written; None when there is none."""
        try:
            return (self.root / path).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def now(self) -> float:
        """This machine's clock."""
        return time.time()


class RemoteBackend:
    """A prefix of an fsspec file system; artifacts are copied to a local cache when a stage reads them.

    Args:
        uri: The prefix.
        cache: The local folder.
        timeout_seconds: How long an operation is tried again while the store does not answer.
    """

    def __init__(self, uri: str, cache: Path, timeout_seconds: float = 120.0) -> None:
        import fsspec

        self.uri = uri
        self.cache = cache
        self.timeout_seconds = timeout_seconds
        self.fs: Any
        self.fs, root = fsspec.core.url_to_fs(uri, **_options(uri, timeout_seconds))
        if hasattr(self.fs, "retries"):
            self.fs.retries = 1  # s3fs would try five times whatever its library has tried already
        self.root = root.rstrip("/")
        # A bucket has no folders, and s3fs would make a bucket that is missing.
        self.has_folders = not set(FOLDERS).isdisjoint(
            [self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol
        )

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _do(self, action: Callable[[], T]) -> T:
        return patiently(action, self.uri, self.timeout_seconds)

    def _put(self, action: Callable[[], object], target: str) -> None:
        """Writes an object, in a folder where the file system has such."""
        if self.has_folders:
            self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        try:
            self._do(action)
        except FileNotFoundError as error:
            raise StoreError(
                f"the store {self.uri} cannot be written ({said(error)}): is there such a bucket? Correct its name in the "
                "spec or --store, or make the bucket: Millrace makes none"
            ) from None

    def read(self, path: str) -> bytes | None:
        """A small file's bytes, or None when there is none."""
        try:
            data: bytes = self._do(lambda: self.fs.cat_file(self._at(path)))
            return data
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, path: str, data: bytes) -> None:
        """Writes an object; object stores make whole objects visible at once."""
        self._put(lambda: self.fs.pipe_file(self._at(path), data), self._at(path))

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted."""
        self.fs.invalidate_cache()
        try:
            entries = self._do(lambda: self.fs.ls(self._at(folder), detail=False))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            name for name in (e.rstrip("/").rpartition("/")[2] for e in entries) if not name.startswith(".")
        )

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return self._do(lambda: bool(self.fs.exists(self._at(path))))

    def remove(self, path: str) -> None:
        """Removes a file or folder; an artifact's manifest goes first, which takes back the commit."""

        def removed(target: str) -> None:
            if self.fs.exists(target):
                self.fs.rm(target, recursive=True)

        for target in (self._at(f"{path}/{MANIFEST}"), self._at(path)):
            self._do(partial(removed, target))

    def publish(self, folder: Path, path: str) -> None:
        """Uploads every file, the manifest last."""
        if self.exists(f"{path}/{MANIFEST}"):
            shutil.rmtree(folder)
            return
        for file in _manifest_last(folder):
            target = self._at(f"{path}/{file.relative_to(folder).as_posix()}")
            self._put(partial(self.fs.put_file, str(file), target), target)
        local = self.cache / path
        local.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(local):
            shutil.rmtree(local, ignore_errors=True)
            folder.rename(local)

    def local(self, path: str, names: Iterable[str]) -> Path:
        """A local copy, whole or absent, of the named files."""
        target = self.cache / path
        if (target / MANIFEST).exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(target):
            if (target / MANIFEST).exists():
                return target
            aside = target.with_name(f".{target.name}")
            shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed in the middle
            for name in (*names, MANIFEST):
                file = aside / name
                file.parent.mkdir(parents=True, exist_ok=True)
                self._do(partial(self.fs.get_file, self._at(f"{path}/{name}"), str(file)))
            aside.rename(target)
        return target

    def tree(self, path: str) -> list[str]:
        """Names of all objects below a prefix, relative to it, sorted."""
        prefix = self._at(path).strip("/")
        found = self._do(lambda: self.fs.find(self._at(path)))
        return sorted(entry.strip("/").removeprefix(prefix).lstrip("/") for entry in found)

    def open(self, path: str) -> BinaryIO:
        """Opens an object for reading; only what is read travels."""
        return cast(BinaryIO, self._do(lambda: self.fs.open(self._at(path), "rb")))

    def bytes_of(self, path: str) -> int:
        """Size of a folder's objects."""
        return self._do(lambda: int(self.fs.du(self._at(path))))

    def modified(self, path: str) -> float | None:
        """When an object was written, by the store's clock; None when there is none."""
        self.fs.invalidate_cache()
        try:
            return self._do(lambda: float(self.fs.modified(self._at(path)).timestamp()))
        except FileNotFoundError:
            return None

    def now(self) -> float:
        """The store's clock, as it shows in the time of an object that is written for this."""
        probe = f"clock-{secrets.token_hex(4)}"
        self.write(probe, b"now")
        try:
            return self.modified(probe) or 0.0
        finally:
            self.remove(probe)

    @contextmanager
    def _alone(self, target: Path) -> Iterator[None]:
        """Held by the process of this machine that writes a cached folder; a killed holder lets go by itself."""
        (self.cache / "locks").mkdir(parents=True, exist_ok=True)
        handle = os.open(self.cache / "locks" / target.name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _options(uri: str, timeout_seconds: float) -> dict[str, Any]:
    """Limits that keep four attempts of one request within the timeout; ``patiently`` tries whole operations again."""
    from fsspec.config import conf

    protocol = uri.partition("://")[0]
    if protocol not in ("s3", "s3a"):
        return {}
    limits = {
        "connect_timeout": min(10.0, timeout_seconds / 4),
        "read_timeout": min(30.0, timeout_seconds / 4),
        "retries": {"total_max_attempts": 4, "mode": "standard"},
    }
    return {"config_kwargs": {**limits, **conf.get(protocol, {}).get("config_kwargs", {})}}


def _same_device(*paths: Path) -> bool:
    return len({path.stat().st_dev for path in paths}) == 1


def _moved(folder: Path, target: Path) -> Path:
    """A folder copied beside its target, which lies on another device; the original is gone afterwards."""
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        shutil.copytree(folder, aside)
        for path in (*aside.rglob("*"), aside):
            _sync(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(folder)
    return aside


def _manifest_last(folder: Path) -> Iterator[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    manifest = folder / MANIFEST
    yield from (file for file in files if file != manifest)
    yield manifest


def _sync(path: Path) -> None:
    """Flushes a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
