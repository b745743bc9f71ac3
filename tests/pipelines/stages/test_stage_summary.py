"""The page of a finished stage: what it holds, in tables that nothing in them can break."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from millrace.pipelines.stages import stage_summary
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store


def test_the_page_holds_metrics_sizes_the_reports_text_and_the_configuration(tmp_path: Path) -> None:
    """Figures are short, a figure that is no number is said, bars stay in their cells, a long report is cut."""
    store = Store(str(tmp_path / "store"))
    folder = tmp_path / "store" / "work" / "report"
    folder.mkdir(parents=True)
    (folder / "report.md").write_text("x" * 2 * stage_summary.REPORT_CHARACTERS)
    digest = store.publish(folder, "report", {})
    facts: dict[str, Any] = dict.fromkeys(("key", "stage", "component", "code", "run"), "s")
    facts |= {"fingerprint": None, "modules": {}, "versions": {}, "seed": 0, "started": 0.0, "seconds": 65.2}
    metrics = {"a|b": 1234567.0, "loss": float("nan")}
    outputs = {"report": {"digest": digest, "kind": "report"}}
    record = StageRecord(
        config={"k": 1},
        inputs={"one": "d1", "many": {"l": "d2"}},
        metrics=metrics,
        outputs=outputs,
        peak_bytes=0,
        **facts,
    )
    page = stage_summary.summary(record, store, ran=True)
    assert "| a\\|b | 1,234,567 |\n| loss | nan |\n" in page
    assert f"| report | report | 1 | 128 KiB | `{digest}` |\n" in page
    assert "| one | `d1` |\n| many | l `d2` |\n" in page
    assert page.count("x") == stage_summary.REPORT_CHARACTERS
    assert '{\n  "k": 1\n}' in page


def test_a_stage_says_whether_it_ran_and_has_no_empty_tables(small_store: SimpleNamespace) -> None:
    found = small_store.store.record(small_store.builder.keys["ingest"])
    page = stage_summary.summary(replace(found, metrics={}), small_store.store, ran=True)
    assert page.startswith(f"# ingest\n\ningest: ran in 1.0 s. Stage key `{found.key}`.\n")
    assert "## Metrics" not in page
    assert "## Inputs" not in page
    again = stage_summary.summary(found, small_store.store, ran=False)
    assert "ingest: reused from run 20250101-000000-aaaa" in again
