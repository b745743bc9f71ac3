"""The explicit registry of rules: the word a spec uses -> its configuration and the function that applies it.

To add a rule: a configuration class and a function of it in a file by topic, both named here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from millrace.components.filter.rule import Outcome, Rows

from .classified import Classified, classified
from .code import CodeRules, code
from .language import Language, language
from .lists import Url, Words, url, words
from .pii import Pii, pii
from .prose import (
    C4,
    FineWeb,
    GopherQuality,
    GopherRepetition,
    c4,
    fineweb,
    gopher_quality,
    gopher_repetition,
)
from .text import Length, Unicode, length, unicode

AnyRule = Annotated[
    GopherQuality
    | GopherRepetition
    | C4
    | FineWeb
    | Classified
    | CodeRules
    | Language
    | Length
    | Pii
    | Unicode
    | Url
    | Words,
    Field(discriminator="rule"),
]

RULES: dict[str, Callable[[Any, Rows], Outcome]] = {
    "gopher_quality": gopher_quality,
    "gopher_repetition": gopher_repetition,
    "c4": c4,
    "fineweb": fineweb,
    "classifier": classified,
    "code": code,
    "language": language,
    "length": length,
    "pii": pii,
    "unicode": unicode,
    "url": url,
    "words": words,
}


def apply(rule: AnyRule, rows: Rows) -> Outcome:
    """What a rule finds in some documents, and what it makes of them."""
    return RULES[rule.rule](rule, rows)
