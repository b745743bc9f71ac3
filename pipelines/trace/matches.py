"""The documents that were kept instead and the benchmark examples that were matched, as evidence names them.

Stages write ids and spans; people want addresses and words. ``evidence`` says which keys mean what.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millrace.pipelines.index import evidence
from millrace.pipelines.index.row_index import target_key

from .find import source_of
from .rows import artifacts_of
from .runs import Run, Source


@dataclass(frozen=True)
class Match:
    """A benchmark example that a document overlaps.

    Attributes:
        benchmark: The benchmark's name.
        example: The example's id.
        uri: The file that the example was made from, or None for a user's own.
        text: What the example says.
        span: The matching text as the document has it; empty for all but the example that it overlaps most.
    """

    benchmark: str
    example: str
    uri: str | None
    text: str
    span: str


def survivor(run: Run, found: Mapping[str, Any]) -> Source | None:
    """The document that was kept in the place of a duplicate, or None."""
    doc_id = evidence.survivor(found)
    return source_of(run, doc_id) if doc_id else None


def matches(run: Run, found: Mapping[str, Any]) -> tuple[Match, ...]:
    """The benchmark examples that the evidence names, with what they say."""
    matched = []
    for hit in evidence.hits(found):
        record = example_record(run, hit.benchmark, hit.example) or {}
        matched.append(Match(hit.benchmark, hit.example, record.get("uri"), example_text(record), hit.span))
    return tuple(matched)


def pointing_at(run: Run, target: str) -> list[tuple[str, dict[str, Any]]]:
    """Ids and evidence of the documents that were dropped or edited because of a document or ``BENCHMARK/ID``."""
    pointing = []
    key = target_key(target)
    for artifact in artifacts_of(run, "decisions"):
        index = artifact.index(run)
        found = [
            (values["doc_id"], json.loads(values["evidence"]))
            for values in index.read(index.lookup("targets", key, key), ("doc_id", "evidence"))
        ]
        pointing += sorted(
            (one for one in found if target in evidence.pointers(one[1])), key=lambda one: one[0]
        )
    return pointing


def example_record(run: Run, benchmark: str, example: str) -> dict[str, Any] | None:
    """A benchmark's example as it stands in its file, or None when the run has no such example."""
    rows = run.rows(
        """
        SELECT digest, file, offset FROM examples JOIN scope USING (artifact)
        JOIN artifacts ON artifacts.id = examples.artifact
        WHERE scope.kind = 'benchmarks' AND file = ? AND examples.id = ? ORDER BY position LIMIT 1
        """,
        benchmark,
        example,
    )
    for row in rows:
        with run.store.open_file(row["digest"], f"{row['file']}.jsonl") as handle:
            handle.seek(row["offset"])
            return dict(json.loads(handle.readline()))
    return None


def example_text(record: Mapping[str, Any]) -> str:
    """The text of an example: its prompt and choices or answer, or its text."""
    parts = [record.get("prompt"), record.get("text")]
    choices, answer = record.get("choices"), record.get("answer")
    if isinstance(choices, list):
        parts += [f"{'*' if number == answer else '-'} {choice}" for number, choice in enumerate(choices)]
    elif answer is not None:
        parts.append(str(answer))
    return "\n".join(part for part in parts if part)


def unknown_example(run: Run, benchmark: str, example: str) -> str:
    """The message about an example that the run does not have."""
    from millrace.pipelines.spec.models import closest

    rows = run.rows(
        "SELECT DISTINCT file FROM examples JOIN scope USING (artifact) WHERE kind = 'benchmarks' ORDER BY file"
    )
    names = [row["file"] for row in rows]
    if benchmark not in names:
        return (
            f"the run {run.run} has no benchmark {benchmark!r}{closest(benchmark, names) or ', and no other'}"
        )
    rows = run.rows(
        "SELECT id FROM examples JOIN scope USING (artifact) WHERE kind = 'benchmarks' AND file = ? ORDER BY id",
        benchmark,
    )
    near = difflib.get_close_matches(example, [row["id"] for row in rows], n=3, cutoff=0.3) or [rows[0]["id"]]
    return f"{benchmark} has no example {example!r}; closest: {', '.join(f'{benchmark}/{name}' for name in near)}"
