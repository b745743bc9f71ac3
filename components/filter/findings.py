"""One shard's part of the report: histograms of values, and the documents nearest to each threshold.

All figures are whole numbers in fixed bins, and examples are ordered by distance and id, so that the sum over shards is
the same however the corpus is cut into them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from millrace.data.documents.decisions import Verdicts

from .rule import Bound, Rule, bounds_of

EXAMPLES = 3
QUOTE_CHARACTERS = 160
LINEAR_BINS = 25
LARGEST_POWER = 20


def edges_of(bound: Bound) -> list[float]:
    """Borders of a value's bins: even ones from 0 to 1 for shares, powers of two for counts.

    Values outside count in the first or last bin.
    """
    if bound.threshold < 1 or "fraction" in bound.value:
        return [step / LINEAR_BINS for step in range(LINEAR_BINS + 1)]
    return [0.0, *(float(1 << power) for power in range(LARGEST_POWER + 1))]


def bounds_of_rules(rules: Sequence[Rule]) -> list[Bound]:
    """The bounds of all rules of a source, in order."""
    return [bound for rule in rules for bound in bounds_of(rule)]


def find(
    bounds: Sequence[Bound],
    values: Sequence[np.ndarray],
    deciding: np.ndarray,
    places: np.ndarray,
    edits: Mapping[str, np.ndarray],
    verdicts: Verdicts,
    documents: Any,
) -> dict[str, Any]:
    """The part of the report for one source in one shard, as JSON values.

    Args:
        bounds: The source's bounds.
        values: The value that each bound limits, float64 [documents of the source] each.
        deciding: The bound that dropped each document, an index into ``bounds`` or -1, int64 [documents of the source].
        places: Where in the shard the documents are, int64 [documents of the source].
        edits: Kind of edit -> count, int64 [documents of the source] each.
        verdicts: The shard's verdicts.
        documents: The shard as it came in.
    """
    is_kept = verdicts.is_kept[places]
    ranks = np.empty(documents.num_rows, np.int64)
    ranks[np.asarray(pc.sort_indices(documents["doc_id"]))] = np.arange(documents.num_rows)
    found = []
    for at, (bound, own) in enumerate(zip(bounds, values, strict=True)):
        edges = edges_of(bound)
        known = own[~np.isnan(own)]
        bins = np.clip(np.searchsorted(edges, known, "right") - 1, 0, len(edges) - 2)
        is_own = deciding == at
        distances = np.abs(own - bound.threshold)
        examples = {}
        for kind, rows in (("dropped", np.flatnonzero(is_own)), ("kept", np.flatnonzero(is_kept))):
            nearest = _nearest(rows, distances, ranks[places])
            examples[kind] = [_example(own, distances, documents, places, row) for row in nearest]
        found.append(
            {
                "counts": np.bincount(bins, minlength=len(edges) - 1).tolist(),
                "broken": int(bound.broken(own).sum()),
                "dropped": int(is_own.sum()),
                "dropped_bytes": int(verdicts.sizes[places][is_own].sum()),
                "examples": examples,
            }
        )
    edited = {name: [int((counts > 0).sum()), int(counts.sum())] for name, counts in edits.items()}
    return {"bounds": found, "edits": edited}


def _nearest(rows: np.ndarray, distances: np.ndarray, ranks: np.ndarray) -> list[int]:
    """The few rows with the smallest distances, of equal ones those with the first ids, nearest first."""
    rows = rows[~np.isnan(distances[rows])]
    if rows.size > EXAMPLES:
        limit = np.partition(distances[rows], EXAMPLES - 1)[EXAMPLES - 1]
        ties = rows[distances[rows] == limit]
        if ties.size > EXAMPLES:  # common for counts
            ties = ties[np.argpartition(ranks[ties], EXAMPLES - 1)[:EXAMPLES]]
        rows = np.concatenate([rows[distances[rows] < limit], ties])
    return sorted(rows.tolist(), key=lambda row: (distances[row], ranks[row]))[:EXAMPLES]


def _example(
    values: np.ndarray, distances: np.ndarray, documents: Any, places: np.ndarray, row: int
) -> list[Any]:
    """[distance, doc_id, value, quote] of one document."""
    place = int(places[row])
    text = documents["text"][place].as_py()[:QUOTE_CHARACTERS]
    return [float(distances[row]), documents["doc_id"][place].as_py(), float(values[row]), text]


def add(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Adds the findings of one shard to a source's total."""
    if not total:
        total.update(more)
        return
    for own, other in zip(total["bounds"], more["bounds"], strict=True):
        own["counts"] = [one + two for one, two in zip(own["counts"], other["counts"], strict=True)]
        for name in ("broken", "dropped", "dropped_bytes"):
            own[name] += other[name]
        for kind, examples in other["examples"].items():
            own["examples"][kind] = sorted(own["examples"][kind] + examples)[:EXAMPLES]
    for name, (documents, count) in more["edits"].items():
        before = total["edits"].get(name, [0, 0])
        total["edits"][name] = [before[0] + documents, before[1] + count]
