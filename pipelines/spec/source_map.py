"""YAML with positions: every value of a spec knows the file and line that it came from.

Specs are data only, so this loader reads a smaller language than YAML 1.1: no anchors, no merge keys, no tags, no
duplicate keys; ``yes``, ``on``, ``12:30`` and ``.inf`` are strings, and ``1e-3`` is a number (PyYAML's own loader reads
it as a string).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 100
MAX_DIGITS = 400
INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


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
    reader = _Reader(text, name)
    data = reader.document()
    if reader.mistakes:
        raise SpecError(reader.mistakes)
    return Source(data, reader.marks)


def parse_value(text: str, name: str) -> Any:
    """Reads one YAML value, as ``--set`` takes it; nothing is the empty string, and a comment is its own text.

    Args:
        text: The value.
        name: The option that it came with, for messages.
    """
    if not text.strip() or text.lstrip().startswith("#"):
        return text.strip()
    try:
        return parse(text, name).data
    except SpecError as error:
        raise SpecError([Mistake(name, "", mistake.message) for mistake in error.mistakes]) from None


class _Reader:
    """Turns YAML's parse events into plain data, noting places and whatever specs leave out.

    Events are read rather than composed nodes because only they tell an explicit tag from an implied one and show
    an anchor that nothing refers to, and because the depth can be bounded.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.marks: dict[Path, str] = {}
        self.mistakes: list[Mistake] = []
        self._text = text

    def document(self) -> Any:
        """The only document of the text; its mistakes are in ``mistakes``."""
        try:
            events: Iterator[Any] = (
                event
                for event in yaml.parse(self._text, Loader=Loader)
                if not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent)
            )
            if next(events, None) is None:
                self._mistake(0, (), "the file is empty, expected a mapping with name and stages")
                return None
            data = self._value(events, next(events), ())
            if (second := next(events, None)) is not None:
                self._mistake(
                    second.start_mark.line,  # pyright: ignore[reportOptionalMemberAccess]  # parsed events have marks
                    (),
                    "a second document begins here, expected one",
                )
            return data
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line if error.problem_mark else 0
            hint = "; indent with blanks, not with a tab" if self._has_tab(line) else ""
            self._mistake(line, (), f"not valid YAML: {error.problem or error.context}{hint}")
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position)
            code = error.character if isinstance(error.character, int) else ord(error.character)
            self._mistake(line, (), f"not valid YAML: the character U+{code:04X} is not allowed")
        except _TooDeepError as error:
            self._mistake(
                error.line, (), f"got more than {MAX_DEPTH} levels of nesting, expected at most that"
            )
        return None

    def _value(self, events: Iterator[Any], event: Any, path: Path) -> Any:
        line = event.start_mark.line
        self.marks.setdefault(path, f"{self.name}:{line + 1}")
        if len(path) > MAX_DEPTH:
            raise _TooDeepError(line)
        if event.anchor is not None:  # an alias has one too
            self._mistake(
                line, path, "anchors and aliases are not part of the spec language, write the value out"
            )
        if getattr(event, "tag", None) is not None:
            self._mistake(
                line, path, f"the tag {event.tag} is not part of the spec language, write plain data"
            )
            event.tag = None
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._value(events, event, (*path, len(items))))
            return items
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path)
        return self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        first: dict[str, int] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            line = event.start_mark.line
            if not isinstance(event, yaml.ScalarEvent):
                self._mistake(line, path, "a key must be a plain word")
                self._value(events, event, (*path, ""))
                self._value(events, next(events), (*path, ""))
                continue
            key = event.value
            if key == "<<":
                self._mistake(line, path, "merge keys (<<) are not part of the spec language, use a profile")
            elif key in first:
                self._mistake(line, (*path, key), f"the key stands twice, first in line {first[key] + 1}")
            elif event.anchor is not None or event.tag is not None:
                self._mistake(line, (*path, key), "a key must be a plain word, without anchor or tag")
            first.setdefault(key, line)
            self.marks.setdefault((*path, key), f"{self.name}:{line + 1}")
            plain[key] = self._value(events, next(events), (*path, key))
        return plain

    def _scalar(self, event: Any, path: Path) -> Any:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text in WORDS:
            return WORDS[text]
        if not NUMBER.fullmatch(text) and not INTEGER.fullmatch(text):
            return text
        number = (
            float("inf") if len(text) > MAX_DIGITS else int(text) if INTEGER.fullmatch(text) else float(text)
        )
        if number in (float("inf"), float("-inf")):
            self._mistake(event.start_mark.line, path, f"the number {text[:40]} is too large")
        return number

    def _has_tab(self, line: int) -> bool:
        lines = self._text.splitlines()
        return line < len(lines) and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]

    def _mistake(self, line: int, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(f"{self.name}:{line + 1}", ".".join(map(str, path)), message))


class _TooDeepError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line
