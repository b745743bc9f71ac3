"""The keys in decisions' evidence that point at other documents and examples, in one place.

``survivor`` (with ``similarity``, and ``via`` where two documents are linked by a third) names the document that was
kept instead. ``benchmark``, ``example`` and ``span`` name the example that a document overlaps most and the text that
both contain; ``also`` lists further examples as [benchmark, example].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hit:
    """An overlap of a document with a benchmark's example.

    Attributes:
        benchmark: The benchmark's name.
        example: The example's id.
        span: The text that both contain, as the document has it; empty where the stage wrote only the example down.
    """

    benchmark: str
    example: str
    span: str


def survivor(evidence: Mapping[str, Any]) -> str | None:
    """Id of the document that was kept instead, or None."""
    doc_id = evidence.get("survivor")
    return doc_id if isinstance(doc_id, str) else None


def threshold(evidence: Mapping[str, Any], config: Mapping[str, Any]) -> float | None:
    """The bound of the measured value: a rule's own, or the stage's when documents were compared."""
    value = evidence.get("threshold")
    if value is None and survivor(evidence) is not None:
        value = config.get("threshold")
    return float(value) if isinstance(value, int | float) else None


def hits(evidence: Mapping[str, Any]) -> list[Hit]:
    """Every benchmark example that the document overlaps."""
    if not isinstance(evidence.get("benchmark"), str):
        return []
    first = Hit(evidence["benchmark"], str(evidence.get("example", "")), str(evidence.get("span", "")))
    return [
        first,
        *(Hit(str(benchmark), str(example), "") for benchmark, example in evidence.get("also", [])),
    ]


def pointers(evidence: Mapping[str, Any]) -> Iterator[str]:
    """The names that lead to a decision from the other side: a survivor's id, or ``BENCHMARK/ID``."""
    kept = survivor(evidence)
    if kept is not None:
        yield kept
    yield from dict.fromkeys(f"{hit.benchmark}/{hit.example}" for hit in hits(evidence))
