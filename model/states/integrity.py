"""Integrity files: the size and SHA-256 of every file of a folder, so that a damaged one is named before it is used.

The file is written last, after every other one is on disk. Its first line is the digest of its other lines, so damage
to the integrity file itself is named too, and a folder without one was interrupted while it was written.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

FILE = "integrity.json"


def seal(folder: Path) -> None:
    """Forces every file of a folder to disk and writes its integrity file, complete or not at all.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    entries = {}
    for path in _files(folder):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        entries[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    for place in sorted({path.parent for path in _files(folder)} | {folder, folder.parent}):
        sync_folder(place)
    body = json.dumps(entries, indent=1, sort_keys=True).encode()
    aside = folder / f".{FILE}.tmp"
    with aside.open("wb") as file:
        file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(folder / FILE)
    sync_folder(folder)


def damage(folder: Path) -> list[str]:
    """The faults of a sealed folder, one line for each damaged file; empty when it is whole."""
    try:
        digest, _, body = (folder / FILE).read_bytes().partition(b"\n")
    except OSError as error:
        return [f"{FILE}: {error.strerror}, so its writing was cut off or the file was lost"]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return [f"{FILE}: its own digest does not fit its content"]
    found = []
    for name, expected in json.loads(body).items():
        try:
            with (folder / name).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != expected["bytes"]:
                    found.append(f"{name}: got {size} bytes, expected {expected['bytes']}")
                elif (got := hashlib.file_digest(file, "sha256").hexdigest()) != expected["sha256"]:
                    found.append(f"{name}: got SHA-256 {got[:12]}, expected {expected['sha256'][:12]}")
        except OSError as error:
            found.append(f"{name}: {error.strerror}")
    return found


def _files(folder: Path) -> list[Path]:
    ours = {folder / FILE, folder / f".{FILE}.tmp"}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in ours)


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
