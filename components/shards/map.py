"""How a data stage maps over shards: the one Beam wiring that every elementwise data stage uses.

Beam's elements are shards, never single documents: elementwise Beam in Python moves some 35,000 elements a second, a
shard of 8-16 MB moves gigabytes, and memory stays bounded by the shard. The function that does a shard's work writes
its output files itself and returns a small result. Results travel through files in the stage's private work folder
and not through Beam, because an in-process runner copies its functions (a list in a closure would stay empty) and
because they then come back in the order of the tasks, whatever thread or machine finished first: nothing that a
stage writes may depend on that.
"""

from __future__ import annotations

import gc
import json
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apache_beam as beam

from millrace.components.contract import ComponentError, Context

from .bundles import RunTasks

POLL_SECONDS = 0.25

Task = TypeVar("Task")


def map_shards(
    context: Context,
    tasks: Sequence[Task],
    work: Callable[[Task], Any],
    label: str,
    *,
    unit: str = "shards",
) -> list[Any]:
    """Runs ``work`` on every task on the stage's Beam runner and returns the results in the order of the tasks.

    Args:
        context: The running stage.
        tasks: One small picklable value per shard: a path, a list of file names, a (path, path) pair.
        work: A function of one task: a module-level function, or ``functools.partial`` of one over small picklable
            values. It writes its files and returns something small that JSON can hold (tuples come back as
            lists). On the in-process runner several threads call it at once, so its heavy part should release
            the GIL.
        label: Name of the step, a verb first ("FilterDocuments"); Beam's step and the folder of results carry it.
        unit: Unit of progress.

    Returns:
        One result per task.

    Raises:
        ComponentError: The first, in the order of the tasks, that any ``work`` raised, with its own message.
    """
    if not tasks:
        return []
    folder = context.work / f"results-{label}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            context.progress(sum(1 for _ in folder.glob("*.json")), len(tasks), unit)

    watcher = threading.Thread(target=watch, name=f"progress-{label}", daemon=True)
    watcher.start()
    gc.freeze()  # modules and compiled code: the collector walks them again and again otherwise, a fifth of the time
    try:
        with context.beam() as pipeline:
            # A group per task keeps runners with several workers from giving all tasks to one. Reshuffle would do so
            # too, but its seven transforms take as long to build as everything else here.
            _ = (
                pipeline
                | f"{label}/Create"
                >> beam.Create(list(enumerate(tasks)), reshuffle=False).with_output_types(tuple[int, Any])
                | f"{label}/Group" >> beam.GroupByKey()
                | f"{label}/Run"
                >> beam.ParDo(RunTasks(partial(_run_task, work, str(folder)), context.threads))
            )
    finally:
        gc.unfreeze()
        stop.set()
        watcher.join()
    results = []
    for index in range(len(tasks)):
        answer = json.loads((folder / _result_name(index)).read_bytes())
        if "error" in answer:
            raise ComponentError(answer["error"])
        results.append(answer["result"])
    context.progress(len(tasks), len(tasks), unit)
    shutil.rmtree(folder)
    return results


def _result_name(index: int) -> str:
    return f"{index:06d}.json"


def _run_task(work: Callable[[Any], Any], folder: str, index: int, task: Any) -> None:
    """Runs one task; a ComponentError becomes its result, so that Beam does not wrap it in a traceback."""
    try:
        answer = {"result": work(task)}
    except ComponentError as error:
        answer = {"error": str(error)}
    path = Path(folder) / _result_name(index)
    # Written aside and renamed, because a runner may try a task again while the watcher or another try looks.
    aside = path.with_suffix(f".{threading.get_ident()}.tmp")
    aside.write_text(json.dumps(answer))
    aside.replace(path)


@dataclass
class Tally:
    """Counts of a stage's decisions on the documents of one source, for all shards or one.

    Attributes:
        documents_in: Documents seen.
        documents_out: Documents that went on.
        bytes_in: UTF-8 bytes of text seen.
        bytes_out: UTF-8 bytes of text that went on.
        dropped: Rule -> documents that it dropped.
    """

    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def keep(self, size_bytes: int, *, before_bytes: int | None = None) -> None:
        """Counts one document that goes on with ``size_bytes`` of text, ``before_bytes`` before an edit."""
        self.documents_in += 1
        self.documents_out += 1
        self.bytes_in += size_bytes if before_bytes is None else before_bytes
        self.bytes_out += size_bytes

    def drop(self, rule: str, size_bytes: int) -> None:
        """Counts one document of ``size_bytes`` that ``rule`` dropped."""
        self.documents_in += 1
        self.bytes_in += size_bytes
        self.dropped[rule] = self.dropped.get(rule, 0) + 1

    def add(self, other: Tally) -> None:
        """Adds another tally to this one."""
        self.documents_in += other.documents_in
        self.documents_out += other.documents_out
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        for rule, count in other.dropped.items():
            self.dropped[rule] = self.dropped.get(rule, 0) + count


Tallies = dict[str, Tally]
"""Source -> tally: what one shard's work returns (as ``dump_tallies``) and what a whole stage adds up to."""


def tally(decisions: Any) -> Tallies:
    """Adds up a table of decisions by source.

    Args:
        decisions: A pyarrow table with the columns of a ``decisions`` artifact.
    """
    grouped = decisions.group_by(["source", "action", "rule"]).aggregate(
        [("doc_id", "count"), ("bytes_before", "sum"), ("bytes_after", "sum")]
    )
    tallies: Tallies = {}
    for row in grouped.to_pylist():
        own = tallies.setdefault(row["source"], Tally())
        count = row["doc_id_count"]
        own.documents_in += count
        own.bytes_in += row["bytes_before_sum"]
        own.bytes_out += row["bytes_after_sum"]
        if row["action"] == "drop":
            own.dropped[row["rule"]] = own.dropped.get(row["rule"], 0) + count
        else:
            own.documents_out += count
    return tallies


def dump_tallies(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """The JSON form that a shard's work returns."""
    return {source: asdict(tally) for source, tally in sorted(tallies.items())}


def sum_tallies(dumped: Iterable[Mapping[str, Any]]) -> Tallies:
    """Adds up the tallies of all shards, by source."""
    total: Tallies = {}
    for shard in dumped:
        for source, values in shard.items():
            total.setdefault(source, Tally()).add(Tally(**values))
    return {source: total[source] for source in sorted(total)}


def report_tallies(context: Context, tallies: Mapping[str, Tally], *, max_drop_fraction: float) -> Tally:
    """Reports a stage's counts as metrics and fails loudly when they are implausible.

    Metrics: ``documents_in``, ``documents_out``, ``bytes_in``, ``bytes_out``, the same four per source
    (``documents_out.code``), ``dropped.RULE`` over all sources, and ``drop_fraction``.

    Args:
        context: The running stage.
        tallies: Source -> what happened to its documents.
        max_drop_fraction: The share of documents that may be dropped, over all sources.

    Returns:
        The sum over sources.

    Raises:
        ComponentError: No document came in, none goes out, or more than ``max_drop_fraction`` were dropped; the
            message names the rule that dropped most.
    """
    total = Tally()
    for source, tally in sorted(tallies.items()):
        total.add(tally)
        for name in ("documents_in", "documents_out", "bytes_in", "bytes_out"):
            context.metric(f"{name}.{source}", getattr(tally, name))
    for name in ("documents_in", "documents_out", "bytes_in", "bytes_out"):
        context.metric(name, getattr(total, name))
    for rule, count in sorted(total.dropped.items()):
        context.metric(f"dropped.{rule}", count)
    if not total.documents_in:
        raise ComponentError(
            "got no documents, expected at least one: check the sources of the stage before this"
        )
    dropped = total.documents_in - total.documents_out
    fraction = dropped / total.documents_in
    context.metric("drop_fraction", fraction)
    if total.documents_out and fraction <= max_drop_fraction:
        return total
    rule, count = max(sorted(total.dropped.items()), key=lambda item: item[1], default=("none", 0))
    raise ComponentError(
        f"got {dropped} of {total.documents_in} documents dropped ({fraction:.1%}), expected at most "
        f"{max_drop_fraction:.1%} and at least one kept: rule {rule} dropped most ({count}); "
        "relax its threshold, mend the input, or raise max_drop_fraction"
    )
