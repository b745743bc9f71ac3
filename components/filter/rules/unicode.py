"""Rules for any text, its length and its Unicode: their configuration and their calls."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import Config
from millrace.components.filter.rule import Count, Outcome, Rows


class Length(Config):
    """Bounds on the length of a text; null: no bound."""

    rule: Literal["length"]
    min_characters: Count | None = None
    max_characters: Count | None = None
    min_bytes: Count | None = Field(None, description="Of UTF-8.")
    max_bytes: Count | None = None
    min_words: Count | None = Field(None, description="Runs between ASCII white space.")
    max_words: Count | None = None
    min_lines: Count | None = None
    max_lines: Count | None = None


def length(rule: Length, rows: Rows) -> Outcome:
    """Measures lengths."""
    from millrace.data.filters import length

    return Outcome(length.measure(rows.batch))


class Unicode(Config):
    """Repairs Unicode; drops nothing."""

    rule: Literal["unicode"]
    mojibake: bool = Field(True, description="Undo text that was decoded in the wrong encoding.")
    normal_form: Literal["NFC", "NFKC"] | None = Field(
        "NFC", description="NFKC also takes ligatures, widths and superscripts away; null: as it is."
    )
    line_ends: bool = Field(True, description="Every kind of line end becomes a line feed.")
    controls: bool = Field(True, description="Take control characters and terminal escapes out.")
    invisible: bool = Field(
        True, description="Take byte order marks, zero-width spaces, soft hyphens and direction marks out."
    )


def unicode(rule: Unicode, rows: Rows) -> Outcome:
    """Repairs Unicode."""
    from millrace.data.filters import unicode

    edited = unicode.edit(
        rows.batch,
        mojibake=rule.mojibake,
        normal_form=rule.normal_form,
        line_ends=rule.line_ends,
        controls=rule.controls,
        invisible=rule.invisible,
    )
    return Outcome({}, edited)
