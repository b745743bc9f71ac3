"""The rule ``unicode``: repairs what decoding and copying did to a text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.filter.rule import Outcome, Rows, Rule


class Unicode(Rule):
    """Repairs Unicode; drops nothing."""

    rule: Literal["unicode"]
    mojibake: bool = Field(default=True, description="Undo text that was decoded in the wrong encoding.")
    normal_form: Literal["NFC", "NFKC"] | None = Field(
        default="NFC", description="NFKC also takes ligatures, widths and superscripts away; null: as it is."
    )
    line_ends: bool = Field(default=True, description="Every kind of line end becomes a line feed.")
    controls: bool = Field(default=True, description="Take control characters and terminal escapes out.")
    invisible: bool = Field(
        default=True,
        description="Take byte order marks, zero-width spaces, soft hyphens and direction marks out.",
    )

    def apply(self, rows: Rows) -> Outcome:
        """Repairs Unicode."""
        from millrace.data.filters import unicode

        edited = unicode.edit(
            rows.batch,
            mojibake=self.mojibake,
            normal_form=self.normal_form,
            line_ends=self.line_ends,
            controls=self.controls,
            invisible=self.invisible,
        )
        return Outcome({}, edited)
