"""Reads sources into documents with ids, addresses and licences; sets held-out documents aside.

The sources are cut into parts of about 12 MB before anything is read, from names and sizes alone, so the shards do not
depend on how many workers read them. A record that cannot be read is a counted decision; ingesting fails when too
many are, when a source gives nothing, and when two sources read the same file (one document would train twice).

Limits (``max_documents``, ``max_bytes``) take the first documents in the source's order, whatever the parts: parts are
read in rounds that double until the limit is reached, and the part in which it falls is read again up to there.
``sample_fraction`` takes documents by the hash of their ids. Documents left out by a limit or a sample get no decision,
as they are no part of the source; the metrics ``sampled_out`` and ``limit_reached`` report them.

Layout: ``source`` defines the parts of a type of source, ``sources`` is the registry, a file for each type its
configuration, ``shard`` the work on one part; ``data/sources`` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.shards.map import Tally, map_shards, report_tallies, sum_tallies
from millrace.data.documents.shards import decisions_table, documents_table, shard_name, write_shard
from millrace.data.sources.records import SourceError

from .config import IngestConfig
from .shard import EXAMPLES_OF_BAD, KINDS, Task, ingest_part, remove_shards
from .sources import SOURCES


def _tasks(config: IngestConfig, folders: tuple[str, str, str], work: Path) -> list[Task]:
    """The parts of all sources, in order."""
    tasks: list[Task] = []
    owner: dict[str, str] = {}
    for name, source in sorted(config.sources.items()):
        kind = SOURCES[source.type]
        try:
            parts = kind.plan(source)
        except SourceError as error:
            raise ComponentError(f"source {name}: {error}") from None
        limits = kind.limits(source)
        for part in parts:
            for file in part.files:
                other = owner.setdefault(file.uri, name)
                if other != name:
                    raise ComponentError(
                        f"got {file.uri} in the sources {other} and {name}, expected each file in one: narrow a pattern"
                    )
            ids = str(work / f"ids-{len(tasks):06d}.npy") if limits.has_own_ids else None
            tasks.append(Task(len(tasks), name, source.type, part, limits, folders, ids))
    return tasks


def _read_all(context: Context, tasks: Sequence[Task]) -> dict[int, Any]:
    """Runs the tasks; those of sources with limits in rounds, until the limits are reached. Index -> result."""
    whole = [task for task in tasks if not _is_limited(task)]
    results = _run(context, whole)
    sources: dict[str, list[Task]] = {}
    for task in tasks:
        sources.setdefault(task.source, []).append(task)
    for queue in sources.values():
        if not _is_limited(queue[0]):
            _without_repeats(context, queue, results)
            continue
        done, size = 0, 2
        while done < len(queue):
            results |= _run(context, queue[done : done + size])
            done, size = done + size, size * 2
            queue[:done] = _without_repeats(context, queue[:done], results)
            if _cut(context, queue[:done], results):
                break
    return results


def _is_limited(task: Task) -> bool:
    return task.limits.max_documents is not None or task.limits.max_bytes is not None


def _run(context: Context, tasks: Sequence[Task]) -> dict[int, Any]:
    results = map_shards(context, tasks, ingest_part, "ReadSources", unit="parts")
    return {task.index: result for task, result in zip(tasks, results, strict=True)}


def _without_repeats(context: Context, tasks: Sequence[Task], results: dict[int, Any]) -> list[Task]:
    """Reads parts again in which an id comes that came before, and returns the tasks as they were run last."""
    if not tasks or tasks[0].ids is None:
        return list(tasks)
    ids = [np.load(str(task.ids)) for task in tasks]
    owners = np.repeat(np.arange(len(tasks)), [len(part) for part in ids])
    together = np.concatenate(ids)
    found, first, codes, counts = np.unique(
        together, return_index=True, return_inverse=True, return_counts=True
    )
    more = counts > 1
    if not more.any():
        return list(tasks)
    repeated = [
        (doc_id.decode(), tasks[int(owners[place])].index)
        for doc_id, place in zip(found[more], first[more], strict=True)
    ]
    touched = set(owners[more[codes]].tolist())
    again = [
        replace(task, repeated=tuple(repeated)) if place in touched else task
        for place, task in enumerate(tasks)
    ]
    results |= _run(context, [again[place] for place in sorted(touched)])
    return again


def _cut(context: Context, tasks: Sequence[Task], results: dict[int, Any]) -> bool:
    """Reads the part in which a source reaches its limit again up to there, and drops what comes after it."""
    limits = tasks[0].limits
    documents, size = limits.max_documents, limits.max_bytes
    for place, task in enumerate(tasks):
        result = results[task.index]
        fits = documents is None or result["documents"] <= documents
        fits = fits and (size is None or result["bytes"] <= size)
        if fits and not result["is_cut"]:
            documents = None if documents is None else documents - result["documents"]
            size = None if size is None else size - result["bytes"]
            continue
        left = limits._replace(max_documents=documents, max_bytes=size)
        results |= _run(context, [replace(task, limits=left)])
        for after in tasks[place + 1 :]:
            remove_shards(after)
            del results[after.index]
        return True
    return False


def _number_shards(folder: Path, kind: str) -> None:
    """Renames a folder's shards to consecutive numbers; an output with no rows gets one empty shard."""
    paths = sorted(folder.glob("part-*.parquet"))
    for index, path in enumerate(paths):
        path.rename(folder / shard_name(index))
    if not paths:
        write_shard(
            folder / shard_name(0), decisions_table([]) if kind == "decisions" else documents_table([])
        )


def run(context: Context, config: IngestConfig, inputs: Inputs) -> None:
    """Reads every source."""
    outputs = [context.output(port) for port in ("documents", "held_out", "decisions")]
    tasks = _tasks(config, (str(outputs[0]), str(outputs[1]), str(outputs[2])), context.work)
    context.log.info("reading %d sources in %d parts", len(config.sources), len(tasks))
    results = _read_all(context, tasks)
    for folder, kind in zip(outputs, KINDS, strict=True):
        _number_shards(folder, kind)
    tallies = sum_tallies(results[index]["tallies"] for index in sorted(results))
    held_out = 0
    for name in sorted(config.sources):
        own = [results[task.index] for task in tasks if task.source == name and task.index in results]
        held_out += _report_source(context, config, name, own, tallies.get(name, Tally()))
    context.metric("held_out_documents", held_out)
    report_tallies(context, tallies, max_drop_fraction=1.0)


def _report_source(
    context: Context, config: IngestConfig, name: str, results: Sequence[Mapping[str, Any]], tally: Tally
) -> int:
    """Reports what became of one source, fails when that is implausible, and returns its held-out documents."""
    held_out = sum(result["held_out"] for result in results)
    context.metric(f"held_out.{name}", held_out)
    if sampled_out := sum(result["sampled_out"] for result in results):
        context.metric(f"sampled_out.{name}", sampled_out)
    if any(result["is_cut"] for result in results):
        context.metric(f"limit_reached.{name}", 1)
    malformed, seen = tally.dropped.get("malformed", 0), tally.documents_in + held_out
    # Of a stretch that cannot be read nobody knows the records: as many as its bytes would be on average.
    documents = sum(result["documents"] for result in results)
    mean_bytes = sum(result["bytes"] for result in results) / max(documents, 1)
    unknown = round(sum(result["unread_bytes"] for result in results) / max(mean_bytes, 1.0))
    malformed, seen = malformed + unknown, seen + unknown
    first = "; ".join([bad for result in results for bad in result["bad"]][:EXAMPLES_OF_BAD])
    if tally.documents_out + held_out == 0:
        raise ComponentError(
            f"source {name}: got no documents, expected at least one"
            + (f". First problem: {first}" if first else "")
        )
    if malformed > config.max_bad_fraction * seen:
        raise ComponentError(
            f"source {name}: got {malformed} of {seen} records malformed, expected at most "
            f"{config.max_bad_fraction:.2%}: mend them or raise max_bad_fraction. First: {first}"
        )
    return held_out
