"""The rule ``language``: finds the language of a text and drops by it."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from millrace.components.filter.rule import Fraction, Outcome, Rows, Rule

CODES = tuple(
    """
    ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi
    fo fr fuv fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik
    kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm
    pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk und ur uz
    uzs vec vi vo wa wuu xh yo yue zh zu zxx
    """.split()  # noqa: SIM905 - a list would take a line for each
)
"""Every code that ``data.filters.language`` gives, named here so that a spec is checked without loading its model."""


def _known(codes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if codes == ():
        raise ValueError("got no language, expected at least one, or null for all")
    for code in codes or ():
        if code not in CODES:
            word = code.lower()
            near = [own for own in CODES if word.startswith(own)]
            near = near or difflib.get_close_matches(word, CODES, n=2, cutoff=0.7)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"one of {', '.join(CODES)}"
            raise ValueError(f"got language {code!r}, expected a code that the model knows: {hint}")
    return codes


class Language(Rule):
    """Identifies the language (py3langid, 140 languages), sets the column `lang`, and drops by it."""

    rule: Literal["language"]
    allowed: Annotated[tuple[str, ...] | None, AfterValidator(_known)] = Field(
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
        default=512, ge=32, le=32_768, description="Bytes of a text's beginning that are looked at."
    )
    set_lang: bool = Field(default=True, description="Write the language found to the column `lang`.")

    def apply(self, rows: Rows) -> Outcome:
        """Identifies languages; ``disallowed`` is 1 where ``allowed`` does not name the one found."""
        import numpy as np
        import pyarrow as pa

        from millrace.data.filters import language

        found = language.identify(rows.batch, self.head_bytes)
        disallowed = (
            np.zeros(len(rows.batch)) if self.allowed is None else 1.0 - np.isin(found.codes, self.allowed)
        )
        return Outcome(
            {"disallowed": disallowed, "confidence": found.confidences},
            lang=pa.array(found.codes, pa.string()) if self.set_lang else None,
            evidence={"found": found.codes},
        )
