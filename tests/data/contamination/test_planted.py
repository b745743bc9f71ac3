"""Planted copies are what their kind says, and always the same."""

from __future__ import annotations

import random

import pytest

from millrace.data.contamination import planted
from millrace.data.contamination import words as hashing
from millrace.data.text.batch import from_texts

FIELDS = ("How many legs has a spider, by the way?", "six", "eight", "ten")


def words(text: str) -> list[int]:
    hashes: list[int] = hashing.words(from_texts([text])).hashes.tolist()
    return hashes


@pytest.mark.parametrize("kind", planted.COPIES)
def test_copies_have_the_same_words(kind: str) -> None:
    """Case, punctuation and white space change the text, and none of its words."""
    for seed in range(20):
        changed = planted.changed(FIELDS[0], kind, random.Random(seed))
        assert words(changed) == words(FIELDS[0])
    assert planted.changed(FIELDS[0], kind, random.Random(1)) == planted.changed(
        FIELDS[0], kind, random.Random(1)
    )


def test_other_kinds_have_fewer_words_or_another_order() -> None:
    """The beginning, all but some, the same in disorder."""
    text = " ".join(f"w{at}" for at in range(1000))
    draw = random.Random(0)
    assert planted.changed(text, "truncated_40", draw).split() == text.split()[:400]
    for share in (10, 20, 30):
        kept = len(planted.changed(text, f"dropped_{share}", draw).split())
        assert abs(kept - 10 * (100 - share)) < 60
    shuffled = planted.changed(text, "shuffled", draw)
    assert shuffled != text
    assert sorted(shuffled.split()) == sorted(text.split())


def test_layouts_hold_the_question_and_the_answer() -> None:
    """Every layout has the question whole; a text alone is printed as it is."""
    printed = {planted.layout(FIELDS, 2, random.Random(seed)) for seed in range(40)}
    assert len(printed) == 4
    assert all(FIELDS[0] in text and "eight" in text for text in printed)
    assert planted.layout(["a text"], 0, random.Random(0)) == "a text"


def test_a_plant_stands_on_lines_of_its_own() -> None:
    """The document is the same around it."""
    host = "One. Two! Three\nFour"
    for seed in range(20):
        before, found, after = planted.insert(host, "PLANT", random.Random(seed)).partition("\nPLANT\n")
        assert found
        assert before + after == host
