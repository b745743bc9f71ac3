"""What went wrong, in words for the person who can mend it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

FULL = ("no space left", "disk quota exceeded", "resource_exhausted: ")


def explain(error: BaseException) -> str | None:
    """One clear message for a failure of the machine rather than of the code, or None for anything else.

    Args:
        error: What was raised; its causes are looked at too, since libraries wrap the operating system's errors.
    """
    for cause in _chain(error):
        number = cause.errno if isinstance(cause, OSError) else None
        name = getattr(cause, "filename", None) or "the store's disk"
        text = str(cause).lower()
        if number in (errno.ENOSPC, errno.EDQUOT) or any(words in text for words in FULL[:2]):
            return (
                f"the disk is full (writing {name}); free some space, for example with `millrace store gc --keep-runs 1`, "
                "and run again: finished stages are kept"
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"no permission to write or read {name}; make it writable, or choose another store with --store"
        if isinstance(cause, MemoryError):
            return "out of memory; give the stage more memory, or lower its batch or shard size"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
