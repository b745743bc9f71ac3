"""The rule ``language``: it looks at the head of a text, drops by a list, and sets the column."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.filter.rule import Outcome, Rows
from millrace.components.filter.rules.language import Language
from millrace.data.text.batch import from_texts

ENGLISH = "All human beings are born free and equal in dignity and rights. "
GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren. "


def apply(texts: list[str], **fields: Any) -> Outcome:
    return Language.model_validate({"rule": "language", **fields}).apply(Rows(from_texts(texts)))


def test_a_language_that_is_not_allowed_is_told_with_what_was_found() -> None:
    outcome = apply([ENGLISH, GERMAN], allowed=["en", "fr"])
    assert outcome.values["disallowed"].tolist() == [0, 1]
    assert list(outcome.evidence["found"]) == ["en", "de"]
    assert outcome.lang.to_pylist() == ["en", "de"]
    assert apply([ENGLISH, GERMAN]).values["disallowed"].tolist() == [0, 0]
    assert apply([GERMAN], set_lang=False).lang is None


@pytest.mark.parametrize(("head_bytes", "code"), [(64, "en"), (32_768, "de")])
def test_as_much_of_the_head_is_looked_at_as_the_spec_says(head_bytes: int, code: str) -> None:
    text = ENGLISH + GERMAN * 60
    assert apply([text], head_bytes=head_bytes).lang.to_pylist() == [code]


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (["english"], "did you mean 'en'"),
        (["EN"], "did you mean 'en'"),
        (["qq"], "got language 'qq', expected a code that the model knows"),
        ([], "got no language, expected at least one"),
    ],
)
def test_a_code_that_does_not_exist_is_refused_with_one_that_does(allowed: list[str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Language.model_validate({"rule": "language", "allowed": allowed})
