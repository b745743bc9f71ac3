"""The rule ``words``: bounds on the words and phrases of a user's list.

A list stands in the spec, in a file with one entry a line, or in both.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Count, Fraction, Outcome, Rows, Rule

if TYPE_CHECKING:
    from millrace.data.filters.words import WordList


def _has_a_word(entry: str) -> str:
    if not re.search(r"\w", unicodedata.normalize("NFKD", entry)):
        raise ValueError(f"got the list entry {entry!r}, expected a letter or digit in it")
    return entry


class Words(Rule):
    """Bounds on words and phrases of a list, compared without case, accents and punctuation."""

    rule: Literal["words"]
    words: tuple[Annotated[str, AfterValidator(_has_a_word)], ...] = Field(
        default=(), description="Words and phrases."
    )
    words_file: str | None = Field(
        default=None, description="A file with one a line; # starts a comment line."
    )
    max_listed_count: Count | None = Field(default=0, description="Occurrences in a text; null: no bound.")
    min_listed_count: Count | None = None
    max_listed_fraction: Fraction | None = Field(default=None, description="Listed words of all words.")
    min_listed_fraction: Fraction | None = None

    def apply(self, rows: Rows) -> Outcome:
        """Counts listed words."""
        from millrace.data.filters import words

        return Outcome(words.measure(rows.batch, _compiled(self.words, self.words_file)))


@lru_cache(maxsize=16)
def _compiled(words: tuple[str, ...], words_file: str | None) -> WordList:
    from millrace.data.filters.lists import with_file
    from millrace.data.filters.words import compile_list

    try:
        return compile_list(with_file(words, words_file))
    except ValueError as error:
        raise ComponentError(f"the rule words: {error}") from None
