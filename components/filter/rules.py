"""The explicit registry of rules: the word a spec uses -> its configuration and the function that applies it.

To add a rule: a configuration class and a function of it in a file by topic, both named here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from .code import CodeRules, code
from .prose import GopherQuality, GopherRepetition, gopher_quality, gopher_repetition
from .rule import Outcome, Rows

AnyRule = Annotated[GopherQuality | GopherRepetition | CodeRules, Field(discriminator="rule")]

RULES: dict[str, Callable[[Any, Rows], Outcome]] = {
    "gopher_quality": gopher_quality,
    "gopher_repetition": gopher_repetition,
    "code": code,
}


def apply(rule: AnyRule, rows: Rows) -> Outcome:
    """What a rule finds in some documents, and what it makes of them."""
    return RULES[rule.rule](rule, rows)
