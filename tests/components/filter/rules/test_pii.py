"""The rule ``pii``: kinds, words that take their place, and how many places were found."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Rows
from millrace.components.filter.rules.pii import Pii
from millrace.data.text.batch import from_texts, to_arrow

TEXT = "Write to ann@mill.org or bob@mill.org, or call +49 30 901820."


def edited(text: str, **fields: Any) -> tuple[str, float]:
    outcome = Pii.model_validate({"rule": "pii", **fields}).apply(Rows(from_texts([text])))
    assert outcome.edited is not None
    return str(to_arrow(outcome.edited.batch)[0]), float(outcome.values["found"][0])


@pytest.mark.parametrize(
    ("fields", "text", "count"),
    [
        ({}, "Write to <EMAIL> or <EMAIL>, or call <PHONE>.", 3),
        ({"kinds": ["phone"]}, "Write to ann@mill.org or bob@mill.org, or call <PHONE>.", 1),
        ({"replacements": {"email": "[mail]"}}, "Write to [mail] or [mail], or call <PHONE>.", 3),
    ],
)
def test_the_kinds_of_the_spec_are_replaced_by_its_words(
    fields: dict[str, Any], text: str, count: int
) -> None:
    assert edited(TEXT, **fields) == (text, count)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("private_addresses", "the host 192.168.17.4 answered"),
        ("assigned_secrets", 'password = "x9Kq27LmPz81VwTr40aB"'),
    ],
)
def test_what_is_left_alone_by_default_goes_when_the_spec_says_so(field: str, text: str) -> None:
    assert edited(text) == (text, 0)
    assert edited(text, **{field: True})[1] == 1


def test_a_replacement_that_is_itself_personal_data_is_an_error() -> None:
    with pytest.raises(ComponentError, match=r"the rule pii: got 'x@mill\.org' to replace email"):
        edited(TEXT, replacements={"email": "x@mill.org"})
