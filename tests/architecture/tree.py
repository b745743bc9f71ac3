"""The tree as tests of the architecture read it: every module, and what each imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from millrace import pipelines

ROOT = Path(str(pipelines.__path__[0])).resolve().parent
PACKAGES = ("components", "data", "model", "pipelines")
MODULES = sorted(file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def imports(file: Path, *, top_only: bool = False) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, by its full name, with the line; ``millrace.data.x`` for relative ones."""
    tree = ast.parse((ROOT / file).read_bytes())
    package = ["millrace", *file.parent.parts]
    for node in at_top(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{name}.{alias.name}", node.lineno) for alias in node.names)


def at_top(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run at import: everything outside functions and type-checking blocks."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.stmt):
            yield node
        stack.extend(ast.iter_child_nodes(node))


def exists(module: str) -> bool:
    path = ROOT.joinpath(*module.removeprefix("millrace.").split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
