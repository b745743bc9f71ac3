"""A run as a person sees it: live bars in a terminal, one line per event in a plain log, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from millrace.components import registry
from millrace.components.reports.figures import count, number, size
from millrace.pipelines.engines.local import Outcome, RunResult

PLAIN_PROGRESS_SECONDS = 10.0
WIDE_COLUMNS = 100
PLAIN_COLUMNS = 120  # width of output that is no terminal and has none of its own
NARROW_METRIC_CHARACTERS = 19
MARKS = {
    "ran": "[green]✓[/]",
    "reused": "[cyan]=[/]",
    "failed": "[red]✗[/]",
    "closed": "[yellow]■[/]",
    "running": "→",
}
UNITS = (("documents", "docs"), ("examples", "examples"), ("tokens", "tokens"), ("bytes", "bytes"))


class PlainDisplay:
    """Lines that read well in a file: starts, ends, and progress every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._last: dict[str, float] = {}

    def _line(self, name: str, text: str) -> None:
        self.console.print(
            f"{time.strftime('%H:%M:%S')} {name:<16} {text}", markup=False, highlight=False, soft_wrap=True
        )

    def stage(self, outcome: Outcome) -> None:
        """A stage changed its status."""
        if outcome.status == "running":
            why = f" ({outcome.reasons[0]})" if outcome.reasons else ""
            self._line(outcome.name, f"started{why}")
        elif outcome.status in ("ran", "reused"):
            self._line(outcome.name, summary(outcome))
        elif outcome.status in ("failed", "closed"):
            self._line(outcome.name, "failed" if outcome.status == "failed" else "gate closed")

    def event(self, outcome: Outcome, event: Mapping[str, Any]) -> None:
        """A running stage reported progress."""
        now = time.monotonic()
        if (
            event["event"] != "progress"
            or now - self._last.setdefault(outcome.name, now) < PLAIN_PROGRESS_SECONDS
        ):
            return
        self._last[outcome.name] = now
        share = 100 * event["done"] / max(event["total"], 1e-9)
        self._line(
            outcome.name, f"{count(event['done'])} of {count(event['total'])} {event['unit']} ({share:.0f}%)"
        )


class LiveDisplay:
    """A bar for every running stage; finished stages scroll up as lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._shown: dict[str, str] = {}
        self._metric: dict[str, str] = {}

    def stage(self, outcome: Outcome) -> None:
        """A stage changed its status."""
        if outcome.status == "running":
            if outcome.name not in self._tasks:
                self._tasks[outcome.name] = self.progress.add_task(outcome.name, total=None, text="starting")
            return
        if outcome.name in self._tasks:
            self.progress.remove_task(self._tasks.pop(outcome.name))
        if outcome.status in MARKS:
            text = summary(outcome) if outcome.record else outcome.status
            self.progress.console.print(
                f"{MARKS[outcome.status]} [bold]{outcome.name:<16}[/] {escape(text)}", highlight=False
            )

    def event(self, outcome: Outcome, event: Mapping[str, Any]) -> None:
        """A running stage reported progress or a metric."""
        task = self._tasks.get(outcome.name)
        if task is None:
            return
        if event["event"] == "metric" and event["step"] is not None:
            # The metric that a stage reports first is what it is about; the others are in its log.
            if self._shown.setdefault(outcome.name, event["name"]) == event["name"]:
                self._metric[outcome.name] = f"{event['name']} {number(float(event['value']), 'nan')}"
        elif event["event"] == "progress":
            text = f"{count(event['done'])}/{count(event['total'])} {event['unit']}"
            metric = self._metric.get(outcome.name)
            self.progress.update(
                task,
                completed=event["done"],
                total=event["total"],
                text=f"{text}  {metric}" if metric else text,
            )


@contextmanager
def display(console: Console) -> Iterator[LiveDisplay | PlainDisplay]:
    """The display that fits where the output goes."""
    if console.is_terminal:
        live = LiveDisplay(console)
        with live.progress:
            yield live
    else:
        yield PlainDisplay(console)


def table(result: RunResult, width: int) -> Table:
    """The closing table: stage, ran or reused, seconds, what went in and out, the key metric.

    Args:
        result: How the run ended.
        width: Columns of the terminal; below 100 the memory of each stage is left out.
    """
    wide = width >= WIDE_COLUMNS
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("stage", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for title in ("seconds", *(("memory",) if wide else ()), "in → out"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("key metric", no_wrap=True)
    for outcome in result.outcomes.values():
        record = outcome.record
        unasked = outcome.status == "skipped" and result.status == "done"
        if outcome.status == "waiting" or unasked:
            continue
        if record is None:
            colour = "dim" if outcome.status == "skipped" else "red"
            shown.add_row(outcome.name, f"[{colour}]{outcome.status}[/]")
            continue
        seconds = f"{outcome.seconds:.1f}" if outcome.status == "ran" else f"[dim]({record.seconds:.1f})[/]"
        colour = "green" if outcome.status == "ran" else "cyan"
        memory = (size(record.peak_bytes),) if wide else ()
        flow = _flow(record.metrics)
        metric = key_metric(outcome, None if wide else NARROW_METRIC_CHARACTERS)
        shown.add_row(outcome.name, f"[{colour}]{outcome.status}[/]", seconds, *memory, flow, metric)
    return shown


def _flow(metrics: Mapping[str, float]) -> str:
    """``8,075 → 8,049 docs``; the unit stands once where both sides have the same."""
    before, after = amount(metrics, "in"), amount(metrics, "out")
    if before and after and before.partition(" ")[2] == after.partition(" ")[2]:
        before = before.partition(" ")[0]
    return " → ".join(text for text in (before, after) if text)


def summary(outcome: Outcome) -> str:
    """One line about a finished stage."""
    record = outcome.record
    if record is None:
        return outcome.status
    parts = [f"{outcome.seconds:.1f} s" if outcome.status == "ran" else "reused"]
    flow = _flow(record.metrics)
    if flow:
        parts.append(flow)
    metric = key_metric(outcome)
    return "  ".join([*parts, *([metric] if metric else [])])


def amount(metrics: Mapping[str, float], direction: str) -> str:
    """Documents, examples or tokens that went in or out, whichever the stage counts first."""
    for unit, word in UNITS:
        value = metrics.get(f"{unit}_{direction}")
        if value is not None:
            return f"{size(value)}" if unit == "bytes" else f"{count(value)} {word}"
    return ""


def key_metric(outcome: Outcome, most_characters: int | None = None) -> str:
    """The stage's key metric: its name, cut to fit, and its value."""
    record = outcome.record
    name = registry.get(record.component).key_metric if record else None
    value = record.metrics.get(name) if record and name else None
    if name is None or value is None:
        return ""
    text = number(value, "nan")
    room = len(name) if most_characters is None else most_characters - len(text) - 1
    return f"{name if len(name) <= room else name[: room - 1] + '…'} {text}"
