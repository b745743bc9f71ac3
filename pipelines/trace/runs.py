"""The run that questions are about, and where its documents came from.

Every question is asked of one run, because a document may be kept in one run and dropped in the next.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from millrace.pipelines.index import lineage
from millrace.pipelines.store.store import Store

from .errors import TraceError

if TYPE_CHECKING:
    from millrace.pipelines.index.row_index import RowIndex

RUNS_SHOWN = 5


@dataclass(frozen=True)
class RunStage:
    """A finished stage of the run that is asked about."""

    stage: str
    component: str
    key: str
    config: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class Run:
    """One run, open for questions.

    Attributes:
        store: Its store.
        index: The lineage index; its temporary table ``scope`` names the artifacts of this run with the stage and
            port that made them.
        run: The run's id.
        pipeline: Its pipeline's name.
        status: How it ended.
        stages: Its finished stages, in running order.
        opened: Digest -> the index of an artifact's rows, of those that were needed so far.
    """

    store: Store
    index: sqlite3.Connection
    run: str
    pipeline: str
    status: str
    stages: tuple[RunStage, ...]
    opened: dict[str, RowIndex] = field(default_factory=dict)

    def rows(self, query: str, *values: Any, **named: Any) -> list[sqlite3.Row]:
        """The rows of a query of the index, its values given by position or by name."""
        return self.index.execute(query, named or values).fetchall()

    def artifacts(self, kind: str) -> list[str]:
        """Digests of the run's artifacts of a kind, in running order."""
        rows = self.rows(
            "SELECT digest FROM scope JOIN artifacts ON artifacts.id = artifact WHERE scope.kind = ? ORDER BY position, port",
            kind,
        )
        return list(dict.fromkeys(row["digest"] for row in rows))

    def inputs(self, stage: RunStage) -> dict[str, tuple[str, str]]:
        """Port (and label) -> digest and kind of what a stage took."""
        rows = self.rows(
            "SELECT port, label, digest, kind FROM edges JOIN artifacts ON artifacts.id = artifact WHERE key = ?",
            stage.key,
        )
        return {
            f"{row['port']}.{row['label']}" if row["label"] else row["port"]: (row["digest"], row["kind"])
            for row in rows
        }


@dataclass(frozen=True)
class Source:
    """Where a document came from.

    Attributes:
        doc_id: Its id, 32 hex digits.
        uri: Its file.
        locator: Where in the file; empty when the file is the document.
        source: The source's name in the spec.
        lang: Language tag, or None for a record that could not be read.
        metadata: What the source knows, for example distribution, version and licence.
    """

    doc_id: str
    uri: str
    locator: str
    source: str
    lang: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def open_run(store: Store, *, pipeline: str | None = None, run: str | None = None) -> Iterator[Run]:
    """Opens the run that questions are about.

    Args:
        store: The store; its index is brought up to date.
        pipeline: Only runs of this pipeline, or of any when None.
        run: A run's id or its beginning; the newest run that finished any stage when None.

    Raises:
        TraceError: There is no such run.
    """
    with contextlib.closing(lineage.open_index(store)) as index:
        found = _find_run(index, store, pipeline, run)
        index.execute(
            "CREATE TEMP TABLE scope (artifact INTEGER, kind TEXT, position INTEGER, stage TEXT, port TEXT)"
        )
        index.execute(
            """
            INSERT INTO scope SELECT artifacts.id, artifacts.kind, run_stages.position, run_stages.stage, producers.port
            FROM run_stages JOIN producers USING (key) JOIN artifacts ON artifacts.id = producers.artifact
            WHERE run_stages.run = ?
            """,
            (found["run"],),
        )
        index.execute("CREATE INDEX temp.scope_artifact ON scope (artifact)")
        stages = index.execute(
            """
            SELECT run_stages.stage, component, run_stages.key, config, seed
            FROM run_stages JOIN stages USING (key) WHERE run_stages.run = ? ORDER BY position
            """,
            (found["run"],),
        ).fetchall()
        yield Run(
            store,
            index,
            found["run"],
            found["pipeline"],
            found["status"],
            tuple(RunStage(**{**row, "config": json.loads(row["config"])}) for row in map(dict, stages)),
        )


def _find_run(index: sqlite3.Connection, store: Store, pipeline: str | None, run: str | None) -> sqlite3.Row:
    rows = index.execute(
        """
        SELECT run, pipeline, status, EXISTS (SELECT 1 FROM run_stages JOIN stages USING (key)
            WHERE run_stages.run = runs.run) AS finished
        FROM runs ORDER BY started DESC, run DESC
        """
    ).fetchall()
    if run is not None:
        matching = [row for row in rows if row["run"].startswith(run)]
        if len(matching) != 1:
            newest = ", ".join(row["run"] for row in (matching or rows)[:RUNS_SHOWN]) or "none"
            raise TraceError(
                f"got run {run!r}, which matches {len(matching)} runs of {store.uri}, expected one; newest: {newest}"
            )
        return matching[0]
    for row in rows:
        if row["finished"] and pipeline in (None, row["pipeline"]):
            return row
    of = f"the pipeline {pipeline!r}" if pipeline else "any pipeline"
    raise TraceError(f"the store {store.uri} has no finished stage of {of}; `millrace run` makes one")
