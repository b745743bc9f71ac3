"""The rows that a run's artifacts have about documents."""

from __future__ import annotations

from types import SimpleNamespace

from millrace.pipelines.trace.rows import artifacts_of, rows_of
from millrace.pipelines.trace.runs import Run


def test_of_documents_only_those_that_entered_the_store_are_read(run: Run) -> None:
    """The filtered ones hold the same documents or fewer."""
    assert [artifact.stage for artifact in artifacts_of(run, "documents")] == ["ingest", "ingest"]
    stages = [artifact.stage for artifact in artifacts_of(run, "decisions")]
    assert stages == ["ingest", "filter", "dedup", "decontaminate"]


def test_rows_come_in_running_order_once_for_each_artifact(run: Run, small_store: SimpleNamespace) -> None:
    kept, dropped = small_store.id("lib/api.py"), small_store.id("docs/table.md")
    found = rows_of(run, "decisions", [dropped, kept, kept, "0" * 32], ("doc_id", "action"))
    actions = {
        doc_id: [(row.artifact.stage, row.values["action"]) for row in rows] for doc_id, rows in found.items()
    }
    assert actions == {
        kept: [(stage, "keep") for stage in ("ingest", "filter", "dedup", "decontaminate")],
        dropped: [("ingest", "keep"), ("filter", "drop")],
    }


def test_nothing_is_opened_for_no_documents(run: Run) -> None:
    assert rows_of(run, "decisions", [], ("doc_id",)) == {}
    assert run.opened == {}


def test_an_artifact_is_opened_once(run: Run) -> None:
    first, again = (artifacts_of(run, "tokens")[0].index(run) for _ in range(2))
    assert first is again
