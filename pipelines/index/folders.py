"""Folders of caches beside the store: made whole, sealed, checked whenever they are opened, forgotten.

    <store>/index/<name>/manifest.json   what whoever made the folder notes, and the size and SHA-256 of each file
                         …

They are checked as artifacts are (``pipelines/store/intact.py``): hashed when they are made, and again where a file's
times say that it changed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from millrace.pipelines.store import intact
from millrace.pipelines.store.backends import MANIFEST
from millrace.pipelines.store.seal import seal, unseal
from millrace.pipelines.store.store import Store, file_digests

FOLDER = "index"


def notes(store: Store, folder: Path, *, read: bool = False) -> dict[str, Any]:
    """The notes of a finished folder.

    Args:
        store: The store.
        folder: The folder.
        read: Whether to hash files that were not seen since they were made.

    Raises:
        OSError: There is none.
        ValueError: It is damaged.
    """
    found = unseal((folder / MANIFEST).read_bytes())
    problem = intact.damage(store.scratch, _name(folder), folder, found["files"], read=read)
    if problem is not None:
        raise ValueError(problem)
    return dict(found["notes"])


@contextlib.contextmanager
def made_anew(store: Store, folder: Path, told: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to fill, which takes the place of another once it is whole; the faster of two processes wins.

    Args:
        store: The store.
        folder: Its place.
        told: The notes; read when the folder is full, so the filling may add to them.
    """
    made = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        yield made
        files = file_digests(made)
        (made / MANIFEST).write_bytes(seal({"notes": dict(told), "files": files}))
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            made.rename(folder)
            intact.remember(store.scratch, _name(folder), folder, files)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def forget(store: Store, kept: set[str]) -> None:
    """Removes the folders of artifacts that are not among these digests."""
    for path in index_folder(store).iterdir():
        if path.name.partition(".")[0] not in kept and not path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
            intact.forget(store.scratch, _name(path))


def damaged(store: Store) -> Iterator[tuple[Path, str]]:
    """Reads every folder again; those that are not as they were made, with what is wrong."""
    folder = store.scratch / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        intact.forget(store.scratch, _name(path))  # else a file is not read whose times are as they were
        try:
            notes(store, path, read=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield path, str(error)


def index_folder(store: Store) -> Path:
    """The folder of all caches; one that ends with the process where the store cannot be written."""
    folder = store.scratch / FOLDER
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK) else _temporary(store.scratch)


@lru_cache(maxsize=64)
def _temporary(scratch: Path) -> Path:
    import atexit

    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _name(folder: Path) -> str:
    return f"{FOLDER}-{folder.name}"
