"""The rule ``c4``: cuts lines that are no sentences and drops pages that have few left."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.filter.rule import Count, Outcome, Rows, Rule


class C4(Rule):
    """C4's rules: cut lines that are no sentences, drop pages that have few left (Raffel et al. 2020, 2.2).

    Null switches a bound off.
    """

    rule: Literal["c4"]
    max_lorem_ipsum: Literal[0] | None = Field(default=0, description="0 drops texts with the phrase.")
    max_curly_brackets: Literal[0] | None = Field(
        default=0, description="0 drops texts with a curly bracket."
    )
    min_sentences: Count | None = Field(default=5, description="Sentences in the lines that stay.")
    line_min_words: Count = Field(default=3, description="Lines with fewer words go.")
    line_max_word_characters: int = Field(default=1000, ge=1, description="Lines with a longer word go.")
    line_terminal_punctuation: bool = Field(
        default=True, description="Lines that do not end in . ? ! or a quote, or that end in an ellipsis, go."
    )
    cut_javascript_lines: bool = Field(default=True, description="Lines that mention JavaScript go.")
    cut_policy_lines: bool = Field(
        default=True, description="Lines about cookies, privacy and terms of use go."
    )
    cut_citations: bool = Field(default=True, description="Marks such as [1] and [citation needed] are cut.")

    def apply(self, rows: Rows) -> Outcome:
        """Cuts lines and measures the rest."""
        from millrace.data.filters.heuristics import c4

        lines = c4.LineRules(
            min_words=self.line_min_words,
            max_word_characters=self.line_max_word_characters,
            terminal_punctuation=self.line_terminal_punctuation,
            javascript=self.cut_javascript_lines,
            policy=self.cut_policy_lines,
            citations=self.cut_citations,
            lorem_ipsum=self.max_lorem_ipsum is not None,
            curly_brackets=self.max_curly_brackets is not None,
        )
        return Outcome(*c4.clean(rows.batch, lines, rows.structure))
