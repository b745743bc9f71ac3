"""Failures of the machine, explained to the person who can mend them."""

from __future__ import annotations

import errno
from pathlib import Path

from millrace.pipelines.store import patience
from millrace.pipelines.store.errors import StoreError

FULL = ("no space left", "disk quota exceeded")
MEMORY = ("resource_exhausted", "out of memory", "std::bad_alloc")


def explain(error: BaseException) -> str | None:
    """One clear message for a failure of the machine rather than of the code, or None for anything else.

    Args:
        error: What was raised; its causes are looked at too, since libraries wrap the operating system's errors.
    """
    for cause in patience.chain(error):
        if isinstance(cause, StoreError):
            return str(cause)
        number = cause.errno if isinstance(cause, OSError) else None
        name = getattr(cause, "filename", None) or "the store's disk"
        text = str(cause).lower()
        if number in (errno.ENOSPC, errno.EDQUOT) or any(words in text for words in FULL):
            return (
                f"the disk is full (writing {name}); free some space, for example with `millrace store gc --keep-runs 1`, "
                "and run again: finished stages are kept"
            )
        if number == errno.EFBIG or "file too large" in text:
            return (
                f"{name} would grow beyond the largest file that is allowed here; raise the limit (`ulimit -f`) or choose "
                "another disk with --store, and run again: finished stages are kept"
            )
        if number in (errno.ENOTDIR, errno.EEXIST) and (file := _file_above(str(name))) is not None:
            return (
                f"got a file at {file}, expected a folder; move it away, or choose another store with --store"
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"no permission to write or read {name}; make it writable, or choose another store with --store"
        if isinstance(cause, MemoryError) or any(words in text for words in MEMORY):
            return (
                "out of memory; give the stage more memory, or lower its batch or shard size (a training also takes less with "
                "remat: full or more accumulate_steps)"
            )
    return patience.refusal(error, "an object store") or patience.silence(error, "an object store")


def _file_above(path: str) -> Path | None:
    """The file that stands where a path needs a folder, if that is what is wrong."""
    return next((place for place in (Path(path), *Path(path).parents) if place.is_file()), None)
