"""Benchmarks on disk: reading a ``benchmarks`` artifact, and choosing which of its examples to use.

Where only some examples can be afforded they are chosen by a keyed hash of their ids, not by position: files are often
sorted by topic or difficulty, and the hash gives every model and every run with one seed the same examples, also when
the file is reordered or grows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace.data.documents.choosing import keyed

from . import json_lines

INDEX_FILE = "index.json"
TEXTS = {
    "multiple_choice": ("id", "prompt"),
    "generation": ("id", "prompt", "answer"),
    "text": ("id", "text", "source"),
}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark with its examples.

    Attributes:
        name: Name in reports.
        type: ``multiple_choice``, ``generation`` or ``text``.
        examples: Rows as the file has them, checked for the keys of the type.
    """

    name: str
    type: str
    examples: Sequence[Mapping[str, Any]]


def read(folder: Path) -> list[Benchmark]:
    """The benchmarks of an artifact in the order of its index.

    Raises:
        ValueError: An unknown type, or an example that lacks a field its type needs; says the file and line.
    """
    index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    benchmarks = []
    for entry in index["benchmarks"]:
        if entry["type"] not in TEXTS:
            raise ValueError(
                f"benchmark {entry['name']!r} has the type {entry['type']!r}, expected one of {', '.join(TEXTS)}"
            )
        rows = []
        for place, row in json_lines.rows(folder / entry["file"]):
            if problem := _problem(entry["type"], row):
                raise ValueError(f"{place}: {problem}")
            rows.append(row)
        benchmarks.append(Benchmark(entry["name"], entry["type"], rows))
    return benchmarks


def choose(examples: Sequence[Mapping[str, Any]], limit: int, seed: int) -> list[Mapping[str, Any]]:
    """At most ``limit`` examples, the same for every caller with this seed, in the order given."""
    if len(examples) <= limit:
        return list(examples)
    ranks = [keyed(seed, "example", str(example["id"])) for example in examples]
    chosen = sorted(range(len(examples)), key=lambda position: (ranks[position], position))[:limit]
    return [examples[position] for position in sorted(chosen)]


def _problem(kind: str, row: Any) -> str | None:
    if not isinstance(row, dict):
        return f"got a {type(row).__name__}, expected a JSON object"
    for key in TEXTS[kind]:
        if not isinstance(row.get(key), str):
            missing = [key for key in TEXTS[kind] if not isinstance(row.get(key), str)]
            return f"got no text under {', '.join(missing)}"
    if kind != "multiple_choice":
        return None
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(_is_filled, choices)):
        return "got choices that are not a list of two or more texts"
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        return f"got the answer {answer!r}, expected the index of one of {len(choices)} choices"
    return None


def _is_filled(choice: Any) -> bool:
    return isinstance(choice, str) and choice != ""
