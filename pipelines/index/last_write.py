"""Whether a file that is changed in place is as its last writer left it: its times are noted after each writing.

The note is ``seen/<name>.json`` beside the store: {"stamp", "sha256"}. Without a note nothing is known of the file.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from millrace.pipelines.store.intact import stamp
from millrace.pipelines.store.store import file_digest

TRIES, SECONDS = 4, 0.05  # a writer takes its note right behind its writing


def note(file: Path) -> None:
    """Notes the file as it is now; nothing happens where the note cannot be written."""
    with contextlib.suppress(OSError):
        with file.open("rb") as handle:
            digest = file_digest(handle)["sha256"]
        kept = _kept(file)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps({"stamp": stamp(file), "sha256": digest}))


def is_as_left(file: Path, *, read: bool = False) -> bool:
    """Whether the file's times are those of the note.

    Args:
        file: The file.
        read: Whether to read the file as well.
    """
    for tried in range(TRIES):
        if tried:
            time.sleep(SECONDS)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(_kept(file).read_bytes())
            if found["stamp"] == stamp(file):
                if not read:
                    return True
                with file.open("rb") as handle:
                    return bool(file_digest(handle)["sha256"] == found["sha256"])
        if not file.exists():
            return False
    return False


def _kept(file: Path) -> Path:
    return file.parent / "seen" / f"{file.name}.json"
