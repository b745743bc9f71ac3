"""Whether an artifact's files are as they were written, for the price of a look at their times.

A file is hashed once. After that its inode, size, modification and change time stand for its bytes: nothing but a
device that loses bits changes a file without changing one of them, and ``millrace store verify`` reads everything again.
They are kept in ``seen/<digest>.json`` in the store's local scratch folder, which may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .backends import MANIFEST

Files = Mapping[str, Mapping[str, Any]]
Stamp = list[int]


def damage(scratch: Path, digest: str, folder: Path, files: Files, *, read: bool) -> str | None:
    """Says what is wrong with an artifact's files, or None.

    Args:
        scratch: The store's local folder.
        digest: The artifact.
        folder: Its files on this machine. When there are none, only damage found before is told.
        files: Name -> {"sha256", "bytes"}, of its manifest.
        read: Whether to hash files that were not seen before; those that changed since are hashed in any case.
    """
    seen = _seen(scratch, digest)
    if not folder.is_dir():
        return next(
            (f"{name} is not what was written" for name, known in seen.items() if known is None), None
        )
    found = _names(folder)
    if files.keys() != found:
        name = min(files.keys() ^ found)
        return f"{name} {'is missing' if name in files else 'was added'}"
    now: dict[str, Stamp | None] = {}
    problem = None
    for name, expected in files.items():
        file = folder / name
        try:
            current = stamp(file)
            is_to_read = seen.get(name) != current and (read or name in seen)
            is_changed = is_to_read and _sha256(file) != expected["sha256"]
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if is_changed:
            problem = problem or f"{name} is not what was written"
            now[name] = None
        elif seen.get(name) == current or read or name in seen:
            now[name] = current
        elif current[1] != expected["bytes"]:
            return f"{name} has {current[1]} bytes, {expected['bytes']} were written"
    if now != seen:
        _keep(scratch, digest, now)
    return problem


def remember(scratch: Path, digest: str, folder: Path, files: Files) -> None:
    """Notes that an artifact's files were just written, and hashed while that was done."""
    _keep(scratch, digest, {name: stamp(folder / name) for name in files} if folder.is_dir() else {})


def forget(scratch: Path, digest: str) -> None:
    """Drops what is known of an artifact that is gone."""
    _file(scratch, digest).unlink(missing_ok=True)


def _names(folder: Path) -> set[str]:
    """Paths of all files below a folder, relative to it, less the manifest."""
    found = set[str]()
    for parent, _, names in os.walk(folder):
        base = os.path.relpath(parent, folder)
        found.update(name if base == "." else f"{base}/{name}".replace(os.sep, "/") for name in names)
    return found - {MANIFEST}


def stamp(file: Path) -> Stamp:
    """Inode, bytes, modification and change time in nanoseconds."""
    status = file.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _file(scratch: Path, digest: str) -> Path:
    return scratch / "seen" / f"{digest}.json"


def _seen(scratch: Path, digest: str) -> dict[str, Stamp | None]:
    """What was kept; nothing when that cannot be read, so that the files are hashed again."""
    try:
        value = json.loads(_file(scratch, digest).read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _keep(scratch: Path, digest: str, stamps: Mapping[str, Stamp | None]) -> None:
    file = _file(scratch, digest)
    aside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(stamps))
        aside.replace(file)
    except OSError:  # a store that cannot be written is hashed every time
        with suppress(OSError):  # for the same reason
            aside.unlink(missing_ok=True)
