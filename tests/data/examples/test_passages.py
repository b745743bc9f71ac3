"""Passages are followed by what really follows, within their limits, and are prose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.examples.passages import (
    MIN_CHARACTERS,
    is_prose,
    keep_end,
    keep_start,
    passages,
    without_boilerplate,
)

ONE = "The river turns the wheel, and the wheel turns the heavy stones of the mill all day."
TWO = "When the water is low in summer the miller waits, mends the sluice and reads a book."
THREE = "In autumn the farmers bring the grain, and the mill runs from morning to the evening."


def test_paragraphs_follow_each_other_and_code_between_them_is_left_out() -> None:
    text = f"{ONE}\n\n    x = {{1: [2, 3], 4: [5]}}; y(x[0])(1) = 2 - 7 * 8 ** 9\n\n{TWO}\n\n{THREE}\n"
    found = passages(text, max_before_characters=200, max_after_characters=200)
    assert [(one.before, one.after) for one in found] == [(ONE, TWO), (TWO, THREE)]


def test_a_text_without_paragraphs_is_split_by_sentences() -> None:
    found = passages(f"{ONE} {TWO} {THREE}", max_before_characters=200, max_after_characters=100)
    assert [(one.before, one.after) for one in found] == [(ONE, TWO), (TWO, THREE)]


def test_cuts_fall_between_sentences_and_else_between_words() -> None:
    assert keep_start(f"{ONE} {TWO}", len(ONE) + 20) == ONE
    assert keep_end(f"{ONE} {TWO}", len(TWO) + 20) == TWO
    assert keep_start("word " * 40, 82).split() == ["word"] * 16
    assert keep_end("word " * 40 + "end", 82).endswith("word end")


@given(st.text(st.sampled_from("ab .!?\n。"), max_size=400), st.integers(60, 200))
def test_passages_keep_their_limits_and_stand_in_the_text(text: str, limit: int) -> None:
    flat = " ".join(text.split())
    for one in passages(text, max_before_characters=limit, max_after_characters=limit):
        assert MIN_CHARACTERS <= len(one.before) <= limit
        assert MIN_CHARACTERS <= len(one.after) <= limit
        assert is_prose(one.before) or len(one.before) < limit
        assert one.after[:20] in flat or "\n" in text


def test_tables_links_and_licences_are_not_prose() -> None:
    assert is_prose(ONE)
    assert not is_prose("| 1 | 2 | 3 |\n| 4 | 5 | 6 |" * 4)
    assert not is_prose(
        "Licensed under the Apache License, which this sentence is about and which many share."
    )
    assert without_boilerplate(f"{ONE}\n\nCopyright (c) 2024 The Miller\n\n{TWO}") == f"{ONE}\n\n{TWO}"
    assert not is_prose(f"{ONE} https://mill.example/wheel")
