"""Code identity: which code a stage's bytes come from, as a digest that only meaningful edits change.

The unit is the module: a component's own and every Millrace module that it imports, transitively, also from inside
functions. Of each module the syntax tree counts, without comments, docstrings, annotations' formatting or positions.
Digests are kept per top-level definition, so that a plan can name the function that changed.

Parsing a few dozen modules takes most of a second, so results are cached by the digest of the source text in the
user's cache folder. The cache begins with its own checksum: losing or damaging it only costs that time.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from millrace.pipelines.store import canonical

PACKAGE = "millrace"
ROOTS = ("components", "data", "model")


@dataclass(frozen=True)
class Module:
    """The contribution of one module.

    Attributes:
        definitions: Name of a top-level definition (``function f``, ``class C``, ``statements``) -> digest, hex.
        imports: Candidate names of the Millrace modules that it imports.
    """

    definitions: Mapping[str, str]
    imports: tuple[str, ...]


@dataclass(frozen=True)
class CodeIdentity:
    """The code behind one component.

    Attributes:
        digest: SHA-256 over all modules, hex.
        modules: Module name without the leading ``millrace.`` -> its definitions' digests.
    """

    digest: str
    modules: Mapping[str, Mapping[str, str]]


class CodeIndex:
    """Reads modules once per process and remembers them across processes."""

    def __init__(self, cache_file: Path | None = None) -> None:
        self._file = cache_file or _default_cache_file()
        self._known: dict[str, Any] = {}
        self._used: dict[str, Any] = {}
        self._modules: dict[str, Module] = {}
        with contextlib.suppress(OSError):  # none yet, or not readable: every module is parsed
            checksum, _, text = self._file.read_bytes().partition(b"\n")
            if checksum.decode("latin-1") == hashlib.sha256(text).hexdigest():
                self._known = json.loads(text)

    def of(self, *modules: str) -> CodeIdentity:
        """The identity of modules such as ``components.filter.stage``, with everything they import."""
        found: dict[str, Module] = {}
        stack = [*modules]
        while stack:
            name = stack.pop()
            if name in found:
                continue
            path = module_file(name)
            if path is None:
                continue
            found[name] = self._read(name, path)
            stack.extend(found[name].imports)
            if "." in name:
                stack.append(name.rpartition(".")[0])
        definitions = {name: dict(found[name].definitions) for name in sorted(found)}
        return CodeIdentity(canonical.digest(definitions), definitions)

    def save(self) -> None:
        """Writes the cache, if anything in it is new."""
        if self._used == self._known or self._used.keys() <= self._known.keys():
            return
        merged = {**self._known, **self._used} if len(self._known) < 2000 else self._used
        text = json.dumps(merged).encode()
        with contextlib.suppress(OSError):  # a cache that cannot be written is only slower
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("wb", dir=self._file.parent, delete=False) as handle:
                handle.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            os.replace(handle.name, self._file)

    def _read(self, name: str, path: Path) -> Module:
        if name not in self._modules:
            source = path.read_bytes()
            key = hashlib.blake2b(name.encode() + b"\n" + source, digest_size=16).hexdigest()
            entry = self._known.get(key)
            if entry is None:
                module = analyse(source, name, is_package=path.name == "__init__.py")
                entry = {"definitions": dict(module.definitions), "imports": list(module.imports)}
            self._used[key] = entry
            self._modules[name] = Module(entry["definitions"], tuple(entry["imports"]))
        return self._modules[name]


@cache
def module_file(name: str) -> Path | None:
    """The file of a module such as ``data.documents.shards``, or None when there is no such module."""
    root, _, rest = name.partition(".")
    if root not in ROOTS:
        return None
    base = Path(__file__).parents[2] / root
    path = base.joinpath(*rest.split(".")) if rest else base
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def analyse(source: bytes, name: str, *, is_package: bool = False) -> Module:
    """Digests and imports of one module's source text.

    Args:
        source: The source text as bytes.
        name: The module's name without ``millrace.``, which relative imports start from.
        is_package: Whether it is a package's ``__init__``.
    """
    tree = ast.parse(source)
    parts: dict[str, Any] = {}
    for node in tree.body:
        if _is_text(node):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            label = f"function {node.name}"
        elif isinstance(node, ast.ClassDef):
            label = f"class {node.name}"
        else:
            label = _assigned(node) or "statements"
        parts.setdefault(label, hashlib.sha256()).update(repr(_plain(node)).encode())
    definitions = {label: part.hexdigest()[:20] for label, part in parts.items()}
    return Module(definitions, tuple(sorted(set(_imports(tree, name, is_package)))))


def changes(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The differences between the modules of two identities, one line each: ``data/filters.py: function f changed``."""
    lines = []
    for module in sorted(old.keys() | new.keys()):
        path = module.replace(".", "/") + ".py"
        if module not in new:
            lines.append(f"{path} is no longer imported")
        elif module not in old:
            lines.append(f"{path} is newly imported")
        else:
            before, after = old[module], new[module]
            for label in sorted(before.keys() | after.keys()):
                if before.get(label) != after.get(label):
                    how = "added" if label not in before else "removed" if label not in after else "changed"
                    lines.append(f"{path}: {label} {how}")
    return lines


def _assigned(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return f"name {node.targets[0].id}"
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return f"name {node.target.id}"
    return None


def _plain(node: Any) -> Any:
    """A syntax node as nested tuples that do not depend on Python's version: empty fields are left out."""
    if isinstance(node, ast.AST):
        fields = []
        for field, value in ast.iter_fields(node):
            if field == "body" and isinstance(value, list):
                value = [statement for statement in value if not _is_text(statement)]
            if field == "keywords" and _is_field_call(node):
                value = [keyword for keyword in node.keywords if keyword.arg != "description"]
            if value is None or value == [] or field in ("type_comment", "kind"):
                continue
            fields.append((field, _plain(value)))
        return (type(node).__name__, *fields)
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return node


def _is_field_call(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether a call declares a configuration field, whose description is documentation."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Field", "runtime")
    )


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a bare string: the docstring of a function, class, module or attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.Module, name: str, is_package: bool) -> Iterator[str]:
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (n.partition(".")[2] for n in names if n.startswith(f"{PACKAGE}."))
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1] if node.level > 1 else package
                prefix = ".".join([*base, *([node.module] if node.module else [])])
            elif node.module and (node.module == PACKAGE or node.module.startswith(f"{PACKAGE}.")):
                prefix = node.module.partition(".")[2]
            else:
                continue
            for target in (
                prefix,
                *(f"{prefix}.{alias.name}" if prefix else alias.name for alias in node.names),
            ):
                if target:
                    yield target


def _default_cache_file() -> Path:
    return cache_folder() / f"code-1-{sys.version_info.major}.{sys.version_info.minor}"


def cache_folder() -> Path:
    """Where this user's caches are; a user without a home, as containers have, gets a temporary folder."""
    with contextlib.suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / PACKAGE
    return Path(tempfile.gettempdir()) / f"{PACKAGE}-{os.getuid()}"
