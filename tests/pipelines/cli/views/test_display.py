"""The display of a run: lines, bars, the closing table, and numbers in few digits."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from millrace.pipelines.cli.views import display
from millrace.pipelines.engines.local import Outcome, RunResult
from millrace.pipelines.store.record import StageRecord

pytestmark = pytest.mark.usefixtures("toys")


def record(**metrics: float) -> StageRecord:
    facts: dict[str, Any] = {
        "config": {},
        "inputs": {},
        "modules": {},
        "outputs": {},
        "versions": {},
        "seed": 0,
    }
    facts |= {
        "key": "k",
        "stage": "s",
        "fingerprint": None,
        "code": "c",
        "run": "r",
        "started": 0.0,
        "seconds": 65.2,
    }
    return StageRecord(component="toy_step", metrics=metrics, peak_bytes=3 * 2**30, **facts)


def console(width: int = 150, **options: Any) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=width, **options), text


@pytest.mark.parametrize(
    ("metrics", "direction", "text"),
    [
        ({"documents_in": 1234.0}, "in", "1,234 docs"),
        ({"documents_in": 1234567.0}, "in", "1.2M docs"),
        ({"tokens_out": 54321.0}, "out", "54.3k tokens"),
        ({"bytes_out": 3.5 * 2**20}, "out", "4 MiB"),
        ({"documents_in": 1.0}, "out", ""),
        ({"documents_in": 1.0, "tokens_in": 5.0}, "in", "1 docs"),
    ],
)
def test_the_amount_is_the_first_unit_that_the_stage_counts(
    metrics: dict[str, float], direction: str, text: str
) -> None:
    assert display.amount(metrics, direction) == text


def test_the_table_has_a_row_for_every_stage_whatever_became_of_it() -> None:
    shown, text = console()
    done = record(documents_in=10.0, documents_out=8.0)
    outcomes = {
        "one": Outcome("one", "ran", record=done, seconds=2.5),
        "two": Outcome("two", "reused", record=done),
        "three": Outcome("three", "failed", message="[bold]bad"),
        "four": Outcome("four", "skipped"),
    }
    shown.print(display.table(RunResult("r", "failed", outcomes, 3.0), 120))
    rows = [line.split() for line in text.getvalue().splitlines()[1:]]
    assert rows[0] == ["one", "ran", "2.5", "3.0", "GiB", "10", "→", "8", "docs", "documents_out", "8"]
    assert rows[1][:3] == ["two", "reused", "(65.2)"]
    assert rows[2:] == [["three", "failed"], ["four", "skipped"]]


def test_a_narrow_terminal_keeps_every_row_on_one_line() -> None:
    shown, text = console(80)
    done = record(documents_in=8_075.0, documents_out=123_049.0)
    outcomes = {"decontaminate": Outcome("decontaminate", "ran", record=done, seconds=123.4)}
    shown.print(display.table(RunResult("r", "done", outcomes, 3.0), 80))
    assert len(text.getvalue().splitlines()) == 2
    row = text.getvalue().splitlines()[1].rstrip()
    assert "…" in row
    assert row.endswith("123,049")


def test_a_plain_log_has_one_line_per_change_and_progress_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, text = console()
    clock = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    plain = display.PlainDisplay(shown)
    plain.stage(Outcome("one", "running", reasons=("config [a] 1 -> 2",)))
    for done, clock[0] in enumerate([0.0, 1.0, 11.0, 12.0, 22.0], 1):
        event = {"event": "progress", "done": done * 1000.0, "total": 5000.0, "unit": "documents"}
        plain.event(Outcome("one", "running"), event)
    plain.event(Outcome("one", "running"), {"event": "metric", "name": "loss", "value": 1.0, "step": 1})
    plain.stage(Outcome("one", "ran", record=record(documents_out=3.0), seconds=1.0))
    lines = [line[9:].split(maxsplit=1) for line in text.getvalue().splitlines()]
    assert [name for name, _ in lines] == ["one"] * 4
    assert [rest for _, rest in lines] == [
        "started (config [a] 1 -> 2)",
        "3,000 of 5,000 documents (60%)",
        "5,000 of 5,000 documents (100%)",
        "1.0 s  3 docs  documents_out 3",
    ]


def test_progress_of_nothing_is_no_division_by_zero() -> None:
    shown, text = console()
    plain = display.PlainDisplay(shown)
    plain._last["one"] = -100.0
    plain.event(Outcome("one", "running"), {"event": "progress", "done": 0.0, "total": 0.0, "unit": "files"})
    assert "0 of 0 files (0%)" in text.getvalue()


def test_a_terminal_shows_bars_and_keeps_a_line_per_finished_stage() -> None:
    shown, text = console(force_terminal=True)
    with display.display(shown) as live:
        assert isinstance(live, display.LiveDisplay)
        outcome = Outcome("one", "running")
        live.stage(outcome)
        live.event(outcome, {"event": "metric", "name": "loss", "value": "nan", "step": 2})
        assert live._metric["one"] == "loss nan"
        live.event(outcome, {"event": "metric", "name": "loss", "value": 2.5, "step": 3})
        live.event(outcome, {"event": "progress", "done": 5.0, "total": 10.0, "unit": "steps"})
        live.event(
            Outcome("never started"), {"event": "progress", "done": 5.0, "total": 10.0, "unit": "steps"}
        )
        outcome.status, outcome.record = "ran", record(documents_out=3.0)
        live.stage(outcome)
        live.stage(Outcome("two", "failed", message="[/] no markup"))
    assert "one" in text.getvalue()
    assert "documents_out 3" in text.getvalue()


def test_what_is_no_terminal_gets_lines() -> None:
    shown, _ = console()
    with display.display(shown) as plain:
        assert isinstance(plain, display.PlainDisplay)
