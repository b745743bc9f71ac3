"""Rules for prose: their configuration, and the call of what measures it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..contract import Config
from .rule import Characters, Count, Fraction, Outcome, Rows


class GopherQuality(Config):
    """Gopher's quality rules for prose (Rae et al. 2021, A.1.1); null switches a bound off."""

    rule: Literal["gopher_quality"]
    min_words: Count | None = 50
    max_words: Count | None = 100_000
    min_mean_word_characters: Characters | None = 3.0
    max_mean_word_characters: Characters | None = 10.0
    max_hash_fraction: float | None = Field(0.1, ge=0.0, description="Hash signs per word.")
    max_ellipsis_fraction: float | None = Field(0.1, ge=0.0, description="Ellipses per word.")
    max_bullet_line_fraction: Fraction | None = 0.9
    max_ellipsis_line_fraction: Fraction | None = 0.3
    min_alphabetic_word_fraction: Fraction | None = 0.8
    min_stop_words: Count | None = Field(2, description="Different ones of stop_words.")
    stop_words: tuple[str, ...] = Field(
        ("the", "be", "to", "of", "and", "that", "have", "with"),
        description="Frequent words of the language.",
    )


def gopher_quality(rule: GopherQuality, rows: Rows) -> Outcome:
    """Measures prose against Gopher's quality rules."""
    from ...data.filters import gopher_quality

    return Outcome(gopher_quality.measure(rows.batch, rule.stop_words))


class GopherRepetition(Config):
    """Gopher's repetition rules for prose (Rae et al. 2021, A.1.1, table A1); null switches a bound off."""

    rule: Literal["gopher_repetition"]
    max_duplicate_line_fraction: Fraction | None = 0.3
    max_duplicate_paragraph_fraction: Fraction | None = 0.3
    max_duplicate_line_character_fraction: Fraction | None = 0.2
    max_duplicate_paragraph_character_fraction: Fraction | None = 0.2
    max_top_2_gram_character_fraction: Fraction | None = 0.2
    max_top_3_gram_character_fraction: Fraction | None = 0.18
    max_top_4_gram_character_fraction: Fraction | None = 0.16
    max_duplicate_5_gram_character_fraction: Fraction | None = 0.15
    max_duplicate_6_gram_character_fraction: Fraction | None = 0.14
    max_duplicate_7_gram_character_fraction: Fraction | None = 0.13
    max_duplicate_8_gram_character_fraction: Fraction | None = 0.12
    max_duplicate_9_gram_character_fraction: Fraction | None = 0.11
    max_duplicate_10_gram_character_fraction: Fraction | None = 0.10


def gopher_repetition(rule: GopherRepetition, rows: Rows) -> Outcome:
    """Measures how much of prose is said again."""
    from ...data.filters import gopher_repetition

    return Outcome(gopher_repetition.measure(rows.batch))
