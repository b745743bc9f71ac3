"""The rule ``length``: bounds on how long a text is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.filter.rule import Count, Outcome, Rows, Rule


class Length(Rule):
    """Bounds on the length of a text; null: no bound."""

    rule: Literal["length"]
    min_characters: Count | None = None
    max_characters: Count | None = None
    min_bytes: Count | None = Field(default=None, description="Bytes of UTF-8.")
    max_bytes: Count | None = None
    min_words: Count | None = Field(default=None, description="Runs between ASCII white space.")
    max_words: Count | None = None
    min_lines: Count | None = None
    max_lines: Count | None = None

    def apply(self, rows: Rows) -> Outcome:
        """Measures lengths."""
        from millrace.data.filters import length

        return Outcome(length.measure(rows.batch))
