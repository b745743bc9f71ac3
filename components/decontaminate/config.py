"""Configuration and ports of ``decontaminate``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import Component, Config, Port


class DecontaminateConfig(Config):
    """The limits of contamination, and the treatment of a contaminated document."""

    action: Literal["drop", "cut"] = Field(
        default="drop", description="drop the document, or cut the repetition out of it."
    )
    min_coverage: float = Field(
        default=0.33,
        gt=0.0,
        le=1.0,
        description="Share of a question, or of a whole example, weighed by rarity, that is a repetition.",
    )
    min_score: float = Field(
        default=20.0,
        ge=8.0,
        description="Bits of rarity that a repetition must have: 20 are about six words.",
    )
    max_document_frequency: int = Field(
        default=10,
        ge=1,
        description="Three words in a row that more documents of the sample have do not count.",
    )
    sample_documents: int = Field(
        default=4096, ge=1, description="Documents of the sample that word frequencies come from."
    )
    min_words_left: int = Field(
        default=20, ge=0, description="A document that was cut and has fewer words left is dropped."
    )
    test_examples: int = Field(
        default=100, ge=1, description="Examples planted, in nine ways each, to test the stage on every run."
    )
    min_recall: float = Field(
        default=0.9,
        ge=0.0,
        le=1.0,
        description="The stage fails when it finds fewer of the planted copies that differ at most in case, "
        "punctuation and white space.",
    )
    max_drop_fraction: float = Field(
        default=0.5, ge=0.0, le=1.0, description="The stage fails when more documents than this go."
    )


COMPONENT = Component(
    name="decontaminate",
    summary="Drop or cut what repeats benchmark examples; report the contamination and how well it is found.",
    config=DecontaminateConfig,
    inputs={
        "documents": Port("documents", "What to check."),
        "benchmarks": Port("benchmarks", "What may not be in training."),
    },
    outputs={
        "documents": Port("documents", "Documents that repeat no example."),
        "decisions": Port("decisions", "Per document: clean, or the examples and the matching spans."),
        "report": Port(
            "report", "Per benchmark: how much of it was in the corpus, and where; the stage's recall."
        ),
    },
    run="millrace.components.decontaminate.stage:run",
    key_metric="contaminated_examples",
)
