"""The rule ``gopher_repetition``: how much of a text is said again."""

from __future__ import annotations

from typing import Literal

from millrace.components.filter.rule import Count, Fraction, Outcome, Rows, Rule


class GopherRepetition(Rule):
    """Gopher's repetition rules for prose (Rae et al. 2021, A.1.1, table A1); null switches a bound off."""

    rule: Literal["gopher_repetition"]
    min_characters: Count | None = 1
    max_duplicate_paragraph_fraction: Fraction | None = 0.3
    max_duplicate_paragraph_character_fraction: Fraction | None = 0.2
    max_duplicate_line_fraction: Fraction | None = 0.3
    max_duplicate_line_character_fraction: Fraction | None = 0.2
    max_top_2_gram_character_fraction: Fraction | None = 0.2
    max_top_3_gram_character_fraction: Fraction | None = 0.18
    max_top_4_gram_character_fraction: Fraction | None = 0.16
    max_duplicate_5_gram_character_fraction: Fraction | None = 0.15
    max_duplicate_6_gram_character_fraction: Fraction | None = 0.14
    max_duplicate_7_gram_character_fraction: Fraction | None = 0.13
    max_duplicate_8_gram_character_fraction: Fraction | None = 0.12
    max_duplicate_9_gram_character_fraction: Fraction | None = 0.11
    max_duplicate_10_gram_character_fraction: Fraction | None = 0.10

    def apply(self, rows: Rows) -> Outcome:
        """Measures how much of prose is said again."""
        from millrace.data.filters.heuristics import gopher_repetition

        return Outcome(gopher_repetition.measure(rows.batch, rows.structure))
