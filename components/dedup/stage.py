"""Drops duplicates over all sources: the same text, nearly the same text by MinHash LSH, and the same URL.

Passes over the shards, with a shuffle through files between the first two (data/documents/shuffle.py):

1. Sign: a digest of each text's normal form, its band keys and a sketch of its signature.
2. Match: documents that share a band key, by partition. Copies of one normal form send one representative.
3. Read: the sets of shingles of the documents that met, for their true similarity.
4. Write: union-find over pairs that are similar enough; one survivor per cluster, the rest dropped with evidence.

``against`` takes the ``signatures`` that earlier dedup stages left, so that a corpus grows without reading the old one
again: a duplicate of an earlier document is dropped, whatever the survivor policy. These similarities are estimates.

Nothing depends on shards or threads: documents are ordered by id wherever an order matters. Memory is that of two
shards and two partitions, and 150 bytes a document; the work folder takes 400 bytes a document for 14 x 8, and 8 bytes
for each word of the documents that met.

References:
    Broder 1997; Lee et al. 2021 (arXiv 2107.06499), 4.2: verification and connected components. See data/dedup.
"""

from __future__ import annotations

import shutil
from functools import partial

from millrace.components.contract import Context, Inputs
from millrace.components.shards.map import map_shards, report_tallies, sum_tallies
from millrace.data.documents.shards import shard_paths

from . import clustering, passes
from .config import DedupConfig
from .report import samples, write_report
from .write import decide, plan


def run(context: Context, config: DedupConfig, inputs: Inputs) -> None:
    """Signs, matches, reads, writes."""
    work = context.work / "dedup"
    shutil.rmtree(work, ignore_errors=True)
    (work / "bands").mkdir(parents=True)
    tasks = [(index, str(path)) for index, path in enumerate(shard_paths(inputs.one("documents").path))]
    earlier = passes.earlier_tasks(config, inputs.many("against"), len(tasks))
    folder = str(context.output("signatures"))
    passes.write_parameters(config, folder)
    sources = map_shards(
        context, [*tasks, *earlier], partial(passes.sign, config, str(work), folder), "SignDocuments"
    )
    corpus = clustering.survey(config, work, tasks, earlier, sources)
    if not corpus.documents:
        report_tallies(context, {}, max_drop_fraction=config.max_drop_fraction)
    found = clustering.cluster(context, config, corpus, work, tasks)
    chosen = samples(corpus, found)
    plan(corpus, found, work, chosen)
    folders = (str(context.output("documents")), str(context.output("decisions")))
    written = map_shards(context, tasks, partial(decide, str(work), folders), "WriteDocuments")
    passes.write_survivors(corpus, found, work, folder)
    tallies = sum_tallies(shard["tallies"] for shard in written)
    quotes = {int(row): quote for shard in written for row, quote in shard["quotes"].items()}
    summary = write_report(context.output("report"), corpus, found, work, tallies, chosen, quotes)
    shutil.rmtree(work)
    for name, value in summary.items():
        context.metric(name, value)
    report_tallies(context, tallies, max_drop_fraction=config.max_drop_fraction)
