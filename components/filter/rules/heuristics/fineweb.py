"""The rule ``fineweb``: what makes a web page prose, by its lines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.filter.rule import Count, Fraction, Outcome, Rows, Rule


class FineWeb(Rule):
    """FineWeb's quality rules for web pages (Penedo et al. 2024, 3.6); null switches a bound off."""

    rule: Literal["fineweb"]
    min_lines: Count | None = Field(default=1, description="Lines with text.")
    min_punctuated_line_fraction: Fraction | None = Field(
        default=0.12, description="Share of lines that end a sentence."
    )
    max_short_line_fraction: Fraction | None = 0.67
    max_duplicate_line_character_fraction: Fraction | None = 0.01
    max_newlines_per_word: float | None = Field(default=0.3, ge=0.0)
    short_line_characters: Count = Field(default=30, description="Longest line that counts as short.")

    def apply(self, rows: Rows) -> Outcome:
        """Measures a page's lines."""
        from millrace.data.filters.heuristics import fineweb

        return Outcome(fineweb.measure(rows.batch, self.short_line_characters, rows.structure))
