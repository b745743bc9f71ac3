"""YAML with positions: every value of a spec knows the file and line that it came from.

Specs are data only, so this loader reads a smaller language than YAML 1.1: no anchors, no merge keys, no tags, no
duplicate keys; ``yes``, ``on`` and ``12:30`` are strings, and ``1e-3`` is a number (PyYAML's own loader reads it as
a string).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class SpecLoader(BaseLoader):
    """The loader of the smaller language."""


SpecLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"^(?:true|false)$", list("tf")),
    ("int", r"^[-+]?[0-9]+(?:_[0-9]+)*$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", list("-+0123456789.")),
):
    SpecLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


@dataclass(frozen=True)
class Mistake:
    """One thing wrong with a spec: where, what was got, what was expected.

    Attributes:
        where: ``file:line`` or the command-line option.
        path: The dotted path inside the spec.
        message: What was got and what was expected, with the closest valid name where there is one.
    """

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.message}" if self.path else f"{self.where}: {self.message}"


class SpecError(Exception):
    """A spec cannot be used; carries every mistake found, not the first one only."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, mistakes)))


@dataclass(frozen=True)
class Source:
    """Plain data together with the place of every part of it.

    Attributes:
        data: Dictionaries, lists and scalars.
        marks: Path of a part -> ``file:line``.
    """

    data: Any
    marks: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Sequence[str | int]) -> str:
        """The place of a part, or of the nearest enclosing part that the file has."""
        known: Path = ()
        for step in path:
            if (*known, step) in self.marks:
                known = (*known, step)
        return self.marks.get(known, "spec")

    def merged(self, over: Source) -> Source:
        """This source with another laid over it: mappings merge by key, everything else is replaced."""
        marks = dict(self.marks)

        def lay(base: Any, top: Any, path: Path) -> Any:
            if path in over.marks:
                marks[path] = over.marks[path]
            if isinstance(top, Mapping):
                kept = dict(base) if isinstance(base, Mapping) else {}
                return {**kept, **{k: lay(kept.get(k), v, (*path, k)) for k, v in top.items()}}
            for old in [p for p in marks if p[: len(path)] == path and p not in over.marks]:
                del marks[old]
            marks.update({p: w for p, w in over.marks.items() if p[: len(path)] == path})
            return top

        return Source(lay(self.data, over.data, ()), marks)

    def part(self, path: Path) -> Source:
        """The part at a path as a source of its own, keeping its places."""
        data = self.data
        for step in path:
            data = data[step]
        size = len(path)
        return Source(data, {p[size:]: w for p, w in self.marks.items() if p[:size] == path})


def parse(text: str, name: str) -> Source:
    """Reads YAML text.

    Args:
        text: The file's text.
        name: What to call the file in messages.

    Raises:
        SpecError: The text is not YAML, or uses what specs leave out.
    """
    try:
        node = yaml.compose(text, Loader=SpecLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError([Mistake(f"{name}:{line}", "", f"not valid YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise SpecError([Mistake(f"{name}:1", "", f"not valid YAML: {error}".splitlines()[0])]) from None
    if node is None:
        raise SpecError(
            [Mistake(f"{name}:1", "", "the file is empty, expected a mapping with name and stages")]
        )
    marks: dict[Path, str] = {}
    mistakes = list(_unsupported(node, name))
    if mistakes:
        raise SpecError(mistakes)
    return Source(_plain(node, (), marks, name), marks)


def parse_value(text: str) -> Any:
    """Reads one YAML value, as ``--set`` takes it."""
    return parse(text, "value").data if text.strip() else ""


def _unsupported(root: Any, name: str) -> Iterator[Mistake]:
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        where = f"{name}:{node.start_mark.line + 1}"
        if id(node) in seen:
            yield Mistake(
                where, "", "anchors and aliases are not part of the spec language, write the value out"
            )
            continue
        seen.add(id(node))
        if not node.tag.startswith("tag:yaml.org,2002:"):
            yield Mistake(where, "", f"the tag {node.tag} is not part of the spec language, write plain data")
        if isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    yield Mistake(f"{name}:{line}", "", "a key must be a plain word")
                    continue
                if key.value == "<<":
                    yield Mistake(
                        f"{name}:{line}",
                        "",
                        "merge keys (<<) are not part of the spec language, use a profile",
                    )
                if key.value in first:
                    yield Mistake(
                        f"{name}:{line}", key.value, f"the key stands twice, first in line {first[key.value]}"
                    )
                first[key.value] = line
                stack.append(value)


def _plain(node: Any, path: Path, marks: dict[Path, str], name: str) -> Any:
    marks[path] = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), marks, name) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        plain = {}
        for key, value in node.value:
            plain[key.value] = _plain(value, (*path, key.value), marks, name)
            marks[(*path, key.value)] = f"{name}:{key.start_mark.line + 1}"
        return plain
    kind = node.tag.rsplit(":", 1)[1]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value == "true"
    if kind == "int":
        return int(node.value)
    if kind == "float":
        return float(node.value)
    return node.value
