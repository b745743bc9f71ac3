"""Rules for prose: their configuration, and the call of what measures it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import Config
from millrace.components.filter.rule import Characters, Count, Fraction, Outcome, Rows


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
    from millrace.data.filters.heuristics import gopher_quality

    return Outcome(gopher_quality.measure(rows.batch, rule.stop_words, rows.structure))


class GopherRepetition(Config):
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


def gopher_repetition(rule: GopherRepetition, rows: Rows) -> Outcome:
    """Measures how much of prose is said again."""
    from millrace.data.filters.heuristics import gopher_repetition

    return Outcome(gopher_repetition.measure(rows.batch, rows.structure))


class C4(Config):
    """C4's rules: cut lines that are no sentences, drop pages that have few left (Raffel et al. 2020, 2.2).

    Null switches a bound off.
    """

    rule: Literal["c4"]
    max_lorem_ipsum: Literal[0] | None = Field(0, description="0 drops texts with the phrase.")
    max_curly_brackets: Literal[0] | None = Field(0, description="0 drops texts with a curly bracket.")
    min_sentences: Count | None = Field(5, description="In the lines that stay.")
    line_min_words: Count = Field(3, description="Lines with fewer go.")
    line_max_word_characters: int = Field(1000, ge=1, description="Lines with a longer word go.")
    line_terminal_punctuation: bool = Field(
        True, description="Lines that do not end in . ? ! or a quote, or that end in an ellipsis, go."
    )
    cut_javascript_lines: bool = Field(True, description="Lines that mention JavaScript go.")
    cut_policy_lines: bool = Field(True, description="Lines about cookies, privacy and terms of use go.")
    cut_citations: bool = Field(True, description="Marks such as [1] and [citation needed] are cut.")


def c4(rule: C4, rows: Rows) -> Outcome:
    """Cuts lines and measures what is left."""
    from millrace.data.filters.heuristics import c4

    lines = c4.LineRules(
        min_words=rule.line_min_words,
        max_word_characters=rule.line_max_word_characters,
        terminal_punctuation=rule.line_terminal_punctuation,
        javascript=rule.cut_javascript_lines,
        policy=rule.cut_policy_lines,
        citations=rule.cut_citations,
        lorem_ipsum=rule.max_lorem_ipsum is not None,
        curly_brackets=rule.max_curly_brackets is not None,
    )
    return Outcome(*c4.clean(rows.batch, lines, rows.structure))


class FineWeb(Config):
    """FineWeb's quality rules for web pages (Penedo et al. 2024, 3.6); null switches a bound off."""

    rule: Literal["fineweb"]
    min_lines: Count | None = Field(1, description="With text on them.")
    min_punctuated_line_fraction: Fraction | None = Field(0.12, description="Lines that end a sentence.")
    max_short_line_fraction: Fraction | None = 0.67
    max_duplicate_line_character_fraction: Fraction | None = 0.01
    max_newlines_per_word: float | None = Field(0.3, ge=0.0)
    short_line_characters: Count = Field(30, description="Lines of at most so many are short.")


def fineweb(rule: FineWeb, rows: Rows) -> Outcome:
    """Measures a page's lines."""
    from millrace.data.filters.heuristics import fineweb

    return Outcome(fineweb.measure(rows.batch, rule.short_line_characters, rows.structure))
