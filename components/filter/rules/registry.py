"""The explicit registry of rules: every rule that a spec may name.

A new rule is a file (see ``components.filter.stage``), imported here and named once in ``AnyRule``; the spec's schema,
the check of a spec and the dispatch follow. The union is written out and not built from a list, because type checkers
understand only the former.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.components.filter.rules.heuristics.c4 import C4
from millrace.components.filter.rules.heuristics.code import CodeRules
from millrace.components.filter.rules.heuristics.fineweb import FineWeb
from millrace.components.filter.rules.heuristics.gopher_quality import GopherQuality
from millrace.components.filter.rules.heuristics.gopher_repetition import GopherRepetition

from .classifier import Classified
from .language import Language
from .length import Length
from .pii import Pii
from .unicode import Unicode
from .url import Url
from .words import Words

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
