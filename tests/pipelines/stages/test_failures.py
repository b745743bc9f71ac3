"""Failures of the machine in words; those of the code are not explained away."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from millrace.pipelines.stages.failures import explain


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x", "/data/f"), "the disk is full (writing /data/f); free some space"),
        (OSError(errno.EDQUOT, "x"), "the disk is full (writing the store's disk)"),
        (RuntimeError("write failed: No space left on device"), "the disk is full"),
        (OSError(errno.EFBIG, "x", "/data/f"), "/data/f would grow beyond the largest file"),
        (PermissionError(errno.EACCES, "x", "/data/f"), "no permission to write or read /data/f"),
        (OSError(errno.EROFS, "x", "/data/f"), "no permission to write or read /data/f"),
        (MemoryError(), "out of memory; give the stage more memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: tried to allocate"), "out of memory"),
        (Exception("std::bad_alloc"), "out of memory"),
    ],
)
def test_a_failure_of_the_machine_says_what_to_do(error: Exception, words: str) -> None:
    assert words in (explain(error) or "")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        ValueError("got 3"),
        OSError(errno.ECONNREFUSED, "x"),
        FileNotFoundError(errno.ENOENT, "x", "f"),
    ],
)
def test_any_other_failure_is_left_to_a_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(NotADirectoryError) as caught:
        (tmp_path / "store" / "artifacts").mkdir()
    assert f"got a file at {tmp_path / 'store'}, expected a folder" in (explain(caught.value) or "")
    assert explain(OSError(errno.ENOTDIR, "x", str(tmp_path / "nothing" / "f"))) is None


def test_the_causes_of_an_error_are_looked_at_too() -> None:
    """Libraries wrap the operating system's errors; one that was replaced on purpose does not count."""

    def raised(cause: bool) -> Exception:
        try:
            try:
                raise MemoryError
            except MemoryError as error:
                if cause:
                    raise RuntimeError("wrapped") from error
                raise RuntimeError("replaced") from None
        except RuntimeError as error:
            return error

    assert "out of memory" in (explain(raised(cause=True)) or "")
    assert explain(raised(cause=False)) is None


def test_causes_in_a_circle_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert explain(first) is None
