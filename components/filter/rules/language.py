"""The rule ``language``: finds the language of a text and drops by it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Fraction, Outcome, Rows, Rule


class Language(Rule):
    """Identifies the language (py3langid, 140 languages), sets the column `lang`, and drops by it."""

    rule: Literal["language"]
    allowed: tuple[str, ...] | None = Field(
        default=None, description='Codes of the languages that may stay ("en", "de"); null: all.'
    )
    max_disallowed: Fraction | None = Field(
        default=0.0, description="0 drops texts in languages that allowed does not name; null keeps them."
    )
    min_confidence: Fraction | None = Field(
        default=None,
        description="Of the model in its answer; 0.5 drops hardly a text of a sentence or more that is in one "
        "language. Null: no bound.",
    )
    head_bytes: int = Field(
        default=512, ge=32, le=32_768, description="How much of the beginning of a text is looked at."
    )
    set_lang: bool = Field(default=True, description="Whether the column `lang` gets what was found.")

    def apply(self, rows: Rows) -> Outcome:
        """Identifies languages; ``disallowed`` is 1 where ``allowed`` does not name the one found."""
        import numpy as np
        import pyarrow as pa

        from millrace.data.filters import language

        allowed = self.allowed
        if allowed is not None:
            unknown = sorted(set(allowed) - set(language.languages()))
            if unknown:
                raise ComponentError(
                    f"got {unknown[0]!r} in allowed of the rule language, expected codes of "
                    f"{', '.join(language.languages())}"
                )
        found = language.identify(rows.batch, self.head_bytes)
        disallowed = np.zeros(len(rows.batch)) if allowed is None else 1.0 - np.isin(found.codes, allowed)
        return Outcome(
            {"disallowed": disallowed, "confidence": found.confidences},
            lang=pa.array(found.codes, pa.string()) if self.set_lang else None,
            evidence={"found": found.codes},
        )
