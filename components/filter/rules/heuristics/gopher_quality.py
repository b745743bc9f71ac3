"""The rule ``gopher_quality``: what makes a text prose, by counts of its words and lines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from millrace.components.filter.rule import Characters, Count, Fraction, Outcome, Rows, Rule


class GopherQuality(Rule):
    """Gopher's quality rules for prose (Rae et al. 2021, A.1.1); null switches a bound off."""

    rule: Literal["gopher_quality"]
    min_words: Count | None = 50
    max_words: Count | None = 100_000
    min_mean_word_characters: Characters | None = 3.0
    max_mean_word_characters: Characters | None = 10.0
    max_hash_fraction: float | None = Field(default=0.1, ge=0.0, description="Hash signs per word.")
    max_ellipsis_fraction: float | None = Field(default=0.1, ge=0.0, description="Ellipses per word.")
    max_bullet_line_fraction: Fraction | None = 0.9
    max_ellipsis_line_fraction: Fraction | None = 0.3
    min_alphabetic_word_fraction: Fraction | None = 0.8
    min_stop_words: Count | None = Field(default=2, description="Distinct words of stop_words.")
    stop_words: tuple[str, ...] = Field(
        default=("the", "be", "to", "of", "and", "that", "have", "with"),
        description="Frequent words of the language.",
    )

    @model_validator(mode="after")
    def _has_enough_stop_words(self) -> GopherQuality:
        if (self.min_stop_words or 0) > len(set(self.stop_words)):
            raise ValueError(
                f"got min_stop_words {self.min_stop_words} of {len(set(self.stop_words))} stop_words, expected at most "
                "as many as there are"
            )
        return self

    def apply(self, rows: Rows) -> Outcome:
        """Measures prose against Gopher's quality rules."""
        from millrace.data.filters.heuristics import gopher_quality

        return Outcome(gopher_quality.measure(rows.batch, self.stop_words, rows.structure))
