"""Drops duplicates over all sources: the same text, nearly the same text by MinHash LSH, and the same URL.

Passes over the shards, with a shuffle through files between the first two (data/documents/shuffle.py):

1. Sign: a digest of each text's normal form, its band keys and a sketch of its signature.
2. Match: documents that share a band key, by partition. Copies of one normal form send one representative.
3. Read: the sets of shingles of the documents that met, for their true similarity.
4. Write: union-find over what is similar enough; one survivor per cluster, the rest dropped with evidence.

``against`` takes the ``signatures`` that earlier dedup stages left, so that a corpus grows without reading the old one
again: what duplicates an earlier document goes, whatever the survivor policy. There similarities are estimates.

Nothing depends on shards or threads: documents are ordered by id wherever an order matters. Memory is that of two
shards and two partitions, and 150 bytes a document; the work folder takes 400 bytes a document for 14 x 8, and 8 bytes
for each word of the documents that met.

References:
    Broder 1997; Lee et al. 2021 (arXiv 2107.06499), 4.2: verification and connected components. See data/duplicates.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator

from millrace.components.contract import Component, Config, Context, Inputs, Port
from millrace.components.shards.map import map_shards, report_tallies, sum_tallies

from . import clustering, passes
from .report import samples, write_report
from .write import decide, plan


class DedupConfig(Config):
    """What counts as a duplicate and which copy stays."""

    minhash: bool = Field(
        True, description="Also near-duplicates; false: only the same text, and the same URL."
    )
    shingle_words: int = Field(5, ge=1, le=100, description="Words per shingle.")
    bands: int = Field(14, ge=1, le=1_000, description="Bands of the signature; more find more.")
    rows: int = Field(8, ge=1, le=100, description="Hash functions per band; more demand more similarity.")
    threshold: float = Field(0.8, gt=0.0, le=1.0, description="Least Jaccard similarity of near-duplicates.")
    verify: bool = Field(
        True, description="Compare true shingle sets; otherwise the signatures' estimate decides."
    )
    url: bool = Field(False, description="Also documents with the same URL but for spelling and tracking.")
    url_field: str | None = Field(
        None, min_length=1, description="The key of the metadata that holds the URL; null: the column uri."
    )
    survivor: Literal["longest", "first", "earliest", "best_score", "source_order"] = Field(
        "longest",
        description="Which copy stays: most bytes, first in order, oldest date, highest score, or of the first "
        "source listed; of equals the longest, then the lowest id.",
    )
    date_field: str | None = Field(
        None, min_length=1, description="For earliest: the metadata's ISO date, year or Unix seconds."
    )
    score_field: str | None = Field(
        None, min_length=1, description="For best_score: the key of a number in the metadata."
    )
    source_order: tuple[str, ...] | None = Field(
        None, min_length=1, description="For source_order: sources, best first; others come last."
    )
    max_drop_fraction: float = Field(
        0.9, ge=0.0, le=1.0, description="The stage fails when more documents than this go."
    )

    @property
    def value_field(self) -> str | None:
        """The key of the metadata that the survivor policy looks at."""
        return {"earliest": self.date_field, "best_score": self.score_field}.get(self.survivor)

    @model_validator(mode="after")
    def _policy_is_complete(self) -> Self:
        for policy, name in (
            ("earliest", "date_field"),
            ("best_score", "score_field"),
            ("source_order", "source_order"),
        ):
            given, needed = getattr(self, name) is not None, self.survivor == policy
            if needed and not given:
                raise ValueError(f"got survivor {policy} without {name}, expected both")
            if given and not needed:
                raise ValueError(
                    f"got {name} with survivor {self.survivor}, expected survivor {policy} with it"
                )
        if self.url_field is not None and not self.url:
            raise ValueError("got url_field without url: true, expected both")
        return self


def run(context: Context, config: DedupConfig, inputs: Inputs) -> None:
    """Signs, matches, reads, writes."""
    from millrace.data.documents.shards import shard_paths

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


COMPONENT = Component(
    name="dedup",
    summary="Drop exact and near duplicates (MinHash LSH); one survivor per cluster.",
    config=DedupConfig,
    inputs={
        "documents": Port("documents", "What to deduplicate."),
        "against": Port(
            "signatures", "Earlier corpora: what duplicates their documents goes.", optional=True, many=True
        ),
    },
    outputs={
        "documents": Port("documents", "One of each cluster, and what has no duplicate."),
        "decisions": Port("decisions", "Per document: unique, survivor, or its survivor and similarity."),
        "signatures": Port("signatures", "What a later dedup needs to drop duplicates of this corpus."),
        "report": Port("report", "Clusters with samples, and which source duplicates which."),
    },
    run=run,
    key_metric="clusters",
)
