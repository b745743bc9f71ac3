"""How compiled kernels are made: Numba, without the GIL, cached on disk where there is a folder to cache in.

Threads of one process then share the cores, and a kernel that took a second to compile takes milliseconds in the next
process. An installation that is read-only, with no home folder either (a locked-down container), has nowhere to put
the cache; there Numba refuses at import, so the kernel is compiled in each process instead.

Numba's cache checks only the file of the kernel itself, so a kernel calls no kernel and reads no constant of another
file: after a change there, the old machine code would stay in use. The exceptions are ``simd.py``, ``atomics.py`` and
``hashing.py``, whose contents are part of the cache's stamp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from numba import njit
from numba.extending import register_jitable

from . import hashing

SHARED = ("simd.py", "atomics.py", "hashing.py")
for _function in (hashing.mix, hashing.fnv, hashing.golden_power):  # hashing.py itself loads no compiler
    register_jitable(forceinline=True)(_function)


def kernel(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compiles a function over NumPy arrays when it is first called."""
    try:
        compiled: Any = njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # raised only when no cache folder can be written
        return njit(nogil=True, **options)(function)
    file = compiled._cache._cache_file
    file._source_stamp = (file._source_stamp, _shared_stamp())
    file._load_index = partial(_index, file._load_index)
    return compiled


def _index(load: Callable[[], dict[Any, str]]) -> dict[Any, str]:
    """The cache's index, or an empty one where it names a type that has moved since: Numba reads it before its stamp."""
    try:
        return load()
    except (ImportError, AttributeError):
        return {}


@lru_cache(maxsize=1)
def _shared_stamp() -> str:
    """A digest of the functions that other files' kernels have compiled into them."""
    files = [Path(__file__).with_name(name) for name in SHARED]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
