"""Rules over a user's lists, of words in texts and of what may not stand in URLs: their configuration and their calls.

A list stands in the spec, in a file with one entry a line, or in both.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from millrace.components.contract import ComponentError, Config
from millrace.components.filter.rule import Count, Fraction, Outcome, Rows

if TYPE_CHECKING:
    from millrace.data.filters.url import UrlLists
    from millrace.data.filters.words import WordList
    from millrace.data.text.batch import TextBatch

Entries = tuple[str, ...]


class Words(Config):
    """Bounds on words and phrases of a list, compared without case, accents and punctuation."""

    rule: Literal["words"]
    words: Entries = Field((), description="Words and phrases.")
    words_file: str | None = Field(None, description="A file with one a line; # starts a comment line.")
    max_listed_count: Count | None = Field(0, description="Occurrences in a text; null: no bound.")
    min_listed_count: Count | None = None
    max_listed_fraction: Fraction | None = Field(None, description="Listed words of all words.")
    min_listed_fraction: Fraction | None = None


class Url(Config):
    """Bounds on what of lists is in a document's URL (Penedo et al. 2023, G.1); null switches a bound off."""

    rule: Literal["url"]
    metadata_field: str | None = Field(
        None, description="The key of the metadata that holds the URL; null: the column uri."
    )
    domains: Entries = Field((), description="Blocked with everything below them: example.com.")
    domains_file: str | None = Field(None, description="A file with one a line.")
    words: Entries = Field((), description="Blocked words, runs of letters and digits.")
    words_file: str | None = Field(None, description="A file with one a line.")
    soft_words: Entries = Field((), description="Words of which it takes several different ones.")
    soft_words_file: str | None = Field(None, description="A file with one a line.")
    parts: Entries = Field((), description="Blocked anywhere in the URL's letters and digits.")
    parts_file: str | None = Field(None, description="A file with one a line.")
    patterns: Entries = Field((), description="Regular expressions (RE2), found anywhere in the URL.")
    max_blocked_domains: Count | None = 0
    max_blocked_words: Count | None = 0
    max_soft_words: Count | None = 1
    max_blocked_parts: Count | None = 0
    max_blocked_patterns: Count | None = 0


def listed_files(rules: Iterable[Config]) -> list[str]:
    """The list files that rules name, for the stage's fingerprint."""
    return sorted(
        {
            path
            for rule in rules
            if isinstance(rule, Words | Url)
            for name, path in rule
            if name.endswith("_file") and path is not None
        }
    )


def words(rule: Words, rows: Rows) -> Outcome:
    """Counts listed words."""
    from millrace.data.filters import words

    return Outcome(words.measure(rows.batch, _word_list(rule)))


def url(rule: Url, rows: Rows) -> Outcome:
    """Looks URLs up in the lists."""
    from millrace.data.filters import url

    return Outcome(url.measure(_urls(rule, rows), _url_lists(rule)))


def _urls(rule: Url, rows: Rows) -> TextBatch:
    import json

    import pyarrow.compute as pc

    from millrace.data.text.batch import from_arrow, from_texts

    if rule.metadata_field is None:
        return from_arrow(pc.fill_null(rows.column("uri"), ""))
    found = (
        json.loads(metadata or "{}").get(rule.metadata_field)
        for metadata in rows.column("metadata").to_pylist()
    )
    return from_texts([value if isinstance(value, str) else "" for value in found])


def _entries(rule: Any, name: str) -> Entries:
    """A list of a rule: what stands in the spec, then what stands in its file."""
    from millrace.data.filters.lists import read_list

    path = getattr(rule, f"{name}_file")
    return (*getattr(rule, name), *(read_list(path) if path else ()))


@lru_cache(maxsize=16)
def _word_list(rule: Words) -> WordList:
    from millrace.data.filters.words import compile_list

    try:
        return compile_list(_entries(rule, "words"))
    except ValueError as error:
        raise ComponentError(f"the rule words: {error}") from None


@lru_cache(maxsize=16)
def _url_lists(rule: Url) -> UrlLists:
    from millrace.data.filters.url import compile_lists

    try:
        return compile_lists(
            domains=_entries(rule, "domains"),
            words=_entries(rule, "words"),
            soft_words=_entries(rule, "soft_words"),
            parts=_entries(rule, "parts"),
            patterns=rule.patterns,
        )
    except ValueError as error:
        raise ComponentError(f"the rule url: {error}") from None
