"""Kernels compile where nothing can be cached, and never depend on code that their cache does not watch."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace.data.text import kernels

DATA = Path(kernels.__file__).parents[1]
MODULES = sorted(DATA.rglob("*.py"))
SHARED = {name.removesuffix(".py") for name in kernels.SHARED}


def test_a_read_only_installation_compiles_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Numba finds no folder for its cache, the kernel is compiled in the process."""

    def njit(**options: Any) -> Callable[[Any], Any]:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels.kernel(lambda value: value + 1)(1) == 2


@pytest.mark.parametrize("changed", kernels.SHARED)
def test_a_change_of_what_all_share_is_a_change_of_every_kernel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    def double(value: int) -> int:
        return 2 * value

    stamps = []
    for name in kernels.SHARED:
        (tmp_path / name).write_text("one")
    for text in ("one", "two"):
        (tmp_path / changed).write_text(text)
        monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
        kernels._shared_stamp.cache_clear()
        compiled: Any = kernels.kernel(double)
        stamps.append(compiled._cache._cache_file._source_stamp)
    kernels._shared_stamp.cache_clear()
    assert stamps[0][0] == stamps[1][0]
    assert stamps[0] != stamps[1]


@pytest.mark.parametrize("gone", [ModuleNotFoundError, AttributeError])
def test_an_index_that_names_a_type_that_has_moved_counts_as_none(gone: type[Exception]) -> None:
    """Numba unpickles its index before it compares stamps, and fails where an update has moved a type."""

    def load() -> dict[Any, str]:
        raise gone

    assert kernels._index(load) == {}
    assert kernels._index(lambda: {"key": "file"}) == {"key": "file"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(DATA)))
def test_kernels_use_nothing_of_other_files(path: Path) -> None:
    """A kernel's machine code is renewed when its own file changes or one of ``SHARED``, so it may use no other of ours."""
    tree = ast.parse(path.read_text())
    ours = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and (node.level or str(node.module).startswith("millrace."))
        and str(node.module).rpartition(".")[2] not in SHARED
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any("kernel" in ast.unparse(d) for d in node.decorator_list):
            used = {name.id for part in node.body for name in ast.walk(part) if isinstance(name, ast.Name)}
            assert not used & ours, f"{node.name} uses {used & ours}"
