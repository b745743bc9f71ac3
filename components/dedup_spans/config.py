"""Configuration and ports of ``dedup_spans``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.components.contract import Component, Config, Port


class Method(Config):
    """Fields of all methods."""

    sources: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Sources whose documents are compared and cut; null: all."
    )
    max_occurrences: int = Field(
        default=1, ge=1, le=1_000_000, description="Number of occurrences that stay, the first ones."
    )


class Lines(Method):
    """Lines that are the same but for case, accents, punctuation, digits and white space (as in CCNet)."""

    method: Literal["lines"]
    min_words: int = Field(default=5, ge=1, description="Lines with fewer words do not count.")
    min_characters: int = Field(
        default=20, ge=1, description="Lines with fewer letters and digits do not count."
    )

    @property
    def span_units(self) -> int:
        """Units that are compared as a whole."""
        return 1


class Paragraphs(Method):
    """Paragraphs between blank lines that are the same in the sense of ``lines``."""

    method: Literal["paragraphs"]
    min_words: int = Field(default=5, ge=1, description="Paragraphs with fewer words do not count.")
    min_characters: int = Field(
        default=20, ge=1, description="Those with fewer letters and digits do not count."
    )

    @property
    def span_units(self) -> int:
        """Units that are compared as a whole."""
        return 1


class Sentences(Method):
    """Spans of consecutive sentences or lines that are the same in the sense of ``lines`` (as in C4)."""

    method: Literal["sentences"]
    span_sentences: int = Field(default=3, ge=1, le=100, description="Sentences per span.")
    min_words: int = Field(default=10, ge=1, description="Spans with fewer words do not count.")
    min_characters: int = Field(
        default=40, ge=1, description="Spans with fewer letters and digits do not count."
    )

    @property
    def span_units(self) -> int:
        """Units that are compared as a whole."""
        return self.span_sentences


class Substrings(Method):
    """Runs of words that are the same byte for byte but for white space (as ExactSubstr)."""

    method: Literal["substrings"]
    min_words: int = Field(default=50, ge=2, le=10_000, description="Words of the shortest run that counts.")

    @property
    def span_units(self) -> int:
        """Units that are compared as a whole."""
        return self.min_words


AnyMethod = Annotated[Lines | Paragraphs | Sentences | Substrings, Field(discriminator="method")]


class DedupSpansConfig(Config):
    """The spans that are compared, and the treatment of documents that lose some."""

    methods: tuple[AnyMethod, ...] = Field(min_length=1, description="Methods to apply, all of them.")
    min_words_left: int = Field(
        default=20, ge=0, description="A document that was cut and has fewer words left is dropped."
    )
    max_drop_fraction: float = Field(
        default=0.9, ge=0.0, le=1.0, description="The stage fails when more documents than this go."
    )


COMPONENT = Component(
    name="dedup_spans",
    summary="Cut repeated lines, paragraphs, sentences or long substrings; the first occurrence stays.",
    config=DedupSpansConfig,
    inputs={"documents": Port("documents", "What to look for repeats in.")},
    outputs={
        "documents": Port("documents", "The documents without what an earlier one already said."),
        "decisions": Port(
            "decisions", "Per document: unique, or which spans were cut and where they stand first."
        ),
        "report": Port("report", "What was repeated most, and what was cut per source and method."),
    },
    run="millrace.components.dedup_spans.stage:run",
    key_metric="cut_fraction",
)
