"""The rows that a run's artifacts have about documents, read from the artifacts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace.pipelines.index.row_index import id_range, open_rows

if TYPE_CHECKING:
    from millrace.pipelines.index.row_index import RowIndex

    from .runs import Run


@dataclass(frozen=True)
class Artifact:
    """An artifact of the run: its digest and kind, and the stage that made it."""

    digest: str
    kind: str
    stage: str

    def index(self, run: Run) -> RowIndex:
        """Where its rows are."""
        if self.digest not in run.opened:
            run.opened[self.digest] = open_rows(run.store, self.digest, self.kind)
        return run.opened[self.digest]


@dataclass(frozen=True)
class Row:
    """One row of an artifact."""

    artifact: Artifact
    values: dict[str, Any]


def artifacts_of(run: Run, kind: str) -> list[Artifact]:
    """The run's artifacts of a kind in running order; of documents only those that entered the store there."""
    rows = run.rows(
        """
        SELECT digest, scope.kind, stage FROM scope JOIN artifacts ON artifacts.id = artifact
        WHERE scope.kind = ? AND rows NOT NULL ORDER BY position, port
        """,
        kind,
    )
    return [Artifact(**row) for row in map(dict, rows)]


def rows_of(run: Run, kind: str, doc_ids: Sequence[str], columns: Sequence[str]) -> dict[str, list[Row]]:
    """The rows that a run's artifacts have about documents: id -> rows in running order.

    Args:
        run: The run.
        kind: ``documents``, ``decisions`` or ``tokens``.
        doc_ids: Ids of documents; an id may come several times.
        columns: What to read; ``doc_id`` is among them.
    """
    found: dict[str, list[Row]] = {}
    wanted = set(doc_ids)
    for artifact in artifacts_of(run, kind) if wanted else ():
        index = artifact.index(run)
        rows = index.lookup_all("ids", [id_range(doc_id) for doc_id in wanted])
        for values in index.read(rows, columns):
            if values["doc_id"] in wanted:
                found.setdefault(values["doc_id"], []).append(Row(artifact, values))
    return found
