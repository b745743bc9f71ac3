"""The rule ``words``: entries of the spec and of a file count alike, and an empty one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Rows
from millrace.components.filter.rules.words import Words
from millrace.data.text.batch import from_texts


def counted(text: str, **fields: Any) -> tuple[float, float]:
    values = Words.model_validate({"rule": "words", **fields}).apply(Rows(from_texts([text]))).values
    return float(values["listed_count"][0]), float(values["listed_fraction"][0])


def test_an_entry_counts_the_same_in_the_spec_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words"
    file.write_text("# a list\nsecret plan\n\nÉTÉ\n")
    text = "The Secret plan, in ete, was no plan."
    assert counted(text, words=["secret plan", "été"]) == counted(text, words_file=str(file)) == (2, 3 / 8)
    assert counted(text, words=["no"], words_file=str(file)) == (3, 4 / 8)


@pytest.mark.parametrize("entry", ["", " ", "--", "!?"])
def test_an_entry_without_a_letter_is_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="expected a letter or digit in it"):
        Words.model_validate({"rule": "words", "words": [entry]})


def test_a_list_that_cannot_be_read_is_an_error_of_the_rule(tmp_path: Path) -> None:
    (tmp_path / "words").write_bytes(b"\xff\xfe")
    with pytest.raises(ComponentError, match="the rule words: "):
        counted("text", words_file=str(tmp_path / "words"))
