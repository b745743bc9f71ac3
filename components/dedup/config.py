"""Configuration and ports of ``dedup``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from millrace.components.contract import Component, Config, Port


class DedupConfig(Config):
    """The criteria of a duplicate, and of the copy that stays."""

    minhash: bool = Field(
        default=True, description="Also near-duplicates; false: only the same text, and the same URL."
    )
    shingle_words: int = Field(default=5, ge=1, le=100, description="Words per shingle.")
    bands: int = Field(default=14, ge=1, le=1_000, description="Bands of the signature; more find more.")
    rows: int = Field(
        default=8, ge=1, le=100, description="Hash functions per band; more demand more similarity."
    )
    threshold: float = Field(
        default=0.8, gt=0.0, le=1.0, description="Least Jaccard similarity of near-duplicates."
    )
    verify: bool = Field(
        default=True, description="Compare true shingle sets; otherwise the signatures' estimate decides."
    )
    url: bool = Field(
        default=False, description="Also documents with the same URL but for spelling and tracking."
    )
    url_field: str | None = Field(
        default=None,
        min_length=1,
        description="The key of the metadata that holds the URL; null: the column uri.",
    )
    survivor: Literal["longest", "first", "earliest", "best_score", "source_order"] = Field(
        default="longest",
        description="Copy that stays: most bytes, first in order, oldest date, highest score, or of the first "
        "source listed; of equals the longest, then the lowest id.",
    )
    date_field: str | None = Field(
        default=None, min_length=1, description="For earliest: the metadata's ISO date, year or Unix seconds."
    )
    score_field: str | None = Field(
        default=None, min_length=1, description="For best_score: the key of a number in the metadata."
    )
    source_order: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="For source_order: sources, best first; others come last."
    )
    max_drop_fraction: float = Field(
        default=0.9, ge=0.0, le=1.0, description="The stage fails when more documents than this go."
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
    run="millrace.components.dedup.stage:run",
    key_metric="clusters",
)
