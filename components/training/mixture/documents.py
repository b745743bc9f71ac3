"""Names the documents that a training step read, briefly enough for an error or a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace.data.training.mixture import Mixture
from millrace.data.training.streams import TokenStreams

MOST_ROWS = 8
MOST_DOCUMENTS = 3


def documents_of(streams: TokenStreams, mixture: Mixture, step: int) -> list[dict[str, Any]]:
    """The first rows of a step's batch with their first documents.

    Returns:
        For each of at most ``MOST_ROWS`` rows ``row``, ``source``, ``documents`` (how many) and ``doc_ids`` (at most
        ``MOST_DOCUMENTS``); ``millrace trace step N`` tells all.
    """
    rows = []
    for row, (source, start, length) in enumerate(mixture.locate(step)[:MOST_ROWS]):
        ids = [span.doc_id for span in streams.documents_in(source, start, length)]
        rows.append({"row": row, "source": source, "documents": len(ids), "doc_ids": ids[:MOST_DOCUMENTS]})
    return rows


def in_words(rows: Iterable[dict[str, Any]]) -> str:
    """The rows for an error, one line each."""
    return "".join(
        f"\n  row {row['row']}: {row['source']} {', '.join(row['doc_ids'])}"
        + (" ..." if row["documents"] > len(row["doc_ids"]) else "")
        for row in rows
    )
