"""Cuts repeated lines, paragraphs, sentences and long substrings out of documents; their first occurrence stays.

Every method reads the input documents, and all their finds are cut, so their order does not matter. The first
occurrence is first in the order of the artifact, that of the sources in the spec: list the best source first. Nothing
is lost by using several methods: each cut piece has an equal one earlier, and the earliest is never cut.

Passes over the shards, with shuffles through files between them (data/documents/shuffle.py):

1. Read: hashes of every line, paragraph or span; for substrings only of their anchors, one word in 14.
2. Match: which anchors occur again; then the windows that have such an anchor.
3. Find: windows beyond the first of their kind, by partition.
4. Cut: spans are taken out, decisions and documents written.

Memory is that of the shards and partitions in work, never of the corpus: 0.8 GB at 1.4 GB of prose on two cores. There
each core does 65 MB/s of lines, 75 of paragraphs, 57 of sentences and 53 of substrings, Parquet to Parquet; the files
between the passes are 0.03 to 0.2 bytes for a byte of text.

References:
    Wenzek et al. 2020 (arXiv 1911.00359): lines; Raffel et al. 2020 (arXiv 1910.10683): three sentences; Lee et al.
    2021 (arXiv 2107.06499): substrings. See data/dedup.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from millrace.components.contract import ComponentError, Context, Inputs
from millrace.components.shards.map import map_shards, report_tallies, sum_tallies
from millrace.data.documents import shuffle
from millrace.data.documents.shards import shard_paths

from . import cut, passes
from . import report as dedup_spans_report
from .config import DedupSpansConfig


def run(context: Context, config: DedupSpansConfig, inputs: Inputs) -> None:
    """Reads, matches, finds, cuts."""
    tasks = [(index, str(path)) for index, path in enumerate(shard_paths(inputs.one("documents").path))]
    work = context.work / "spans"
    shutil.rmtree(work, ignore_errors=True)
    for number in range(len(config.methods)):
        for name in ("anchors", "shared", "windows", "later"):
            (work / f"{name}-{number}").mkdir(parents=True)
    sources = map_shards(context, tasks, partial(passes.read, config, str(work)), "ReadSpans")
    _check_sources(config, {source for shard in sources for source in shard})
    if not tasks:
        report_tallies(context, {}, max_drop_fraction=config.max_drop_fraction)
    _match_anchors(context, config, work, tasks)
    tops = _find(context, config, work, len(tasks))
    folders = (str(context.output("documents")), str(context.output("decisions")))
    written = map_shards(context, tasks, partial(cut.cut, config, str(work), folders), "CutSpans")
    quotes = dedup_spans_report.most_repeated(config, work, [path for _, path in tasks], tops)
    tallies = sum_tallies(shard["tallies"] for shard in written)
    summary = dedup_spans_report.write(context.output("report"), config, tallies, written, quotes)
    shutil.rmtree(work)
    for name, value in summary.items():
        context.metric(name, value)
    report_tallies(context, tallies, max_drop_fraction=config.max_drop_fraction)


def _check_sources(config: DedupSpansConfig, present: set[str]) -> None:
    for method in config.methods:
        unknown = sorted(set(method.sources or ()) - present)
        if unknown and present:
            raise ComponentError(
                f"got source {unknown[0]!r} for method {method.method}, expected one of the sources that came in: "
                f"{', '.join(sorted(present))}"
            )


def _match_anchors(context: Context, config: DedupSpansConfig, work: Path, tasks: list[Any]) -> None:
    """Writes the windows of ``substrings`` whose anchors occur too often."""
    parts: list[passes.Part] = []
    for number, method in enumerate(config.methods):
        if method.method == "substrings":
            parts += passes.parts_of(number, work / f"anchors-{number}", len(tasks))
    if not parts:
        return
    match = partial(passes.match_anchors, config, str(work), len(tasks))
    map_shards(context, parts, match, "MatchAnchors", unit="partitions")
    for number in sorted({part[0] for part in parts}):
        shuffle.close(work / f"shared-{number}", sum(part[0] == number for part in parts))
    map_shards(context, tasks, partial(passes.read_shared, config, str(work)), "ReadShared")


def _find(context: Context, config: DedupSpansConfig, work: Path, shards: int) -> list[list[list[int]]]:
    """Writes which windows go; returns for each method the most frequent ones as [occurrences, first place]."""
    passes.join(config, work, shards)
    parts: list[passes.Part] = []
    for number in range(len(config.methods)):
        parts += passes.parts_of(number, work / f"windows-{number}", shards)
    find = partial(passes.find, config, str(work))
    found = map_shards(context, parts, find, "FindRepeats", unit="partitions")
    tops: list[list[list[int]]] = []
    for number in range(len(config.methods)):
        own = [top for part, top in zip(parts, found, strict=True) if part[0] == number]
        shuffle.close(work / f"later-{number}", len(own))
        tops.append([row for top in own for row in top])
    return tops
