"""The rule ``gopher_quality``: its stop words are those of the spec, and there are enough of them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from millrace.components.filter.rule import Rows
from millrace.components.filter.rules.heuristics.gopher_quality import GopherQuality
from millrace.data.text.batch import from_texts


def test_the_stop_words_of_the_spec_are_counted() -> None:
    rule = GopherQuality(rule="gopher_quality", stop_words=("und", "der"))
    values = rule.apply(Rows(from_texts(["der Bach und der Fluss", "the brook and the river"]))).values
    assert values["stop_words"].tolist() == [2, 0]


def test_more_stop_words_than_there_are_cannot_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="got min_stop_words 2 of 1 stop_words"):
        GopherQuality(rule="gopher_quality", stop_words=("the", "the"))
