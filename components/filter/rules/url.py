"""The rule ``url``: bounds on the entries of a user's lists found in a document's URL.

A list stands in the spec, in a file with one entry a line, or in both.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Count, Outcome, Rows, Rule

if TYPE_CHECKING:
    from millrace.data.filters.url import UrlLists
    from millrace.data.text.batch import TextBatch

Listed = tuple[tuple[str, ...], str | None]  # entries in the spec, and a file


def _has_a_letter(entry: str) -> str:
    if not LETTER.search(entry):
        raise ValueError(f"got the list entry {entry!r}, expected a letter or digit in it")
    return entry


def _is_one_word(word: str) -> str:
    if not re.fullmatch(f"{LETTER.pattern}+", word):
        raise ValueError(f"got {word!r}, expected one word of letters and digits; put others under parts")
    return word


def _is_a_pattern(pattern: str) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(f"got the pattern {pattern!r} ({error}), expected RE2's syntax") from None
    return pattern


LETTER = re.compile(r"[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]")  # as ``data.filters.url`` has it
Entry = Annotated[str, AfterValidator(_has_a_letter)]
Word = Annotated[str, AfterValidator(_is_one_word)]
Pattern = Annotated[str, AfterValidator(_is_a_pattern)]


class Url(Rule):
    """Bounds on what of lists is in a document's URL (Penedo et al. 2023, G.1); null switches a bound off."""

    rule: Literal["url"]
    metadata_field: str | None = Field(
        default=None, description="The key of the metadata that holds the URL; null: the column uri."
    )
    domains: tuple[Entry, ...] = Field(
        default=(), description="Blocked with everything below them: example.com."
    )
    domains_file: str | None = Field(default=None, description="A file with one a line.")
    words: tuple[Word, ...] = Field(default=(), description="Blocked words, runs of letters and digits.")
    words_file: str | None = Field(default=None, description="A file with one a line.")
    soft_words: tuple[Word, ...] = Field(
        default=(), description="Words that block only when several distinct ones occur."
    )
    soft_words_file: str | None = Field(default=None, description="A file with one a line.")
    parts: tuple[Entry, ...] = Field(
        default=(), description="Blocked anywhere in the URL's letters and digits."
    )
    parts_file: str | None = Field(default=None, description="A file with one a line.")
    patterns: tuple[Pattern, ...] = Field(
        default=(), description="Regular expressions (RE2), found anywhere in the URL."
    )
    max_blocked_domains: Count | None = 0
    max_blocked_words: Count | None = 0
    max_soft_words: Count | None = 1
    max_blocked_parts: Count | None = 0
    max_blocked_patterns: Count | None = 0

    def apply(self, rows: Rows) -> Outcome:
        """Looks URLs up in the lists."""
        from millrace.data.filters import url

        lists = (
            (self.domains, self.domains_file),
            (self.words, self.words_file),
            (self.soft_words, self.soft_words_file),
            (self.parts, self.parts_file),
        )
        return Outcome(url.measure(_urls(self, rows), _compiled(lists, self.patterns)))


def _urls(rule: Url, rows: Rows) -> TextBatch:
    import pyarrow.compute as pc

    from millrace.data.text.batch import from_arrow, from_texts

    if rule.metadata_field is None:
        return from_arrow(pc.fill_null(rows.column("uri"), ""))
    found = (
        json.loads(metadata or "{}").get(rule.metadata_field)
        for metadata in rows.column("metadata").to_pylist()
    )
    return from_texts([value if isinstance(value, str) else "" for value in found])


@lru_cache(maxsize=16)
def _compiled(lists: tuple[Listed, Listed, Listed, Listed], patterns: tuple[str, ...]) -> UrlLists:
    from millrace.data.filters.lists import with_file
    from millrace.data.filters.url import compile_lists

    try:
        domains, words, soft_words, parts = (with_file(*listed) for listed in lists)
        return compile_lists(domains, words, soft_words, parts, patterns)
    except ValueError as error:
        raise ComponentError(f"the rule url: {error}") from None
