"""Word lists against a brute force over folded words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.filters import words
from millrace.data.text.batch import from_texts

ENTRIES = ["bad", "Very Bad", "naive", "a b c"]


@given(
    st.lists(st.lists(st.sampled_from(["bad", "very", "a", "b", "c", "ok", "Naïve"]), max_size=9), max_size=4)
)
def test_counts_and_fractions_are_those_of_a_brute_force(texts: list[list[str]]) -> None:
    values = words.measure(from_texts([", ".join(text) for text in texts]), words.compile_list(ENTRIES))
    for index, text in enumerate(texts):
        folded = [word.lower().replace("ï", "i") for word in text]
        count, covered = 0, set()
        for entry in ENTRIES:
            phrase = entry.lower().split()
            for at in range(len(folded) - len(phrase) + 1):
                if folded[at : at + len(phrase)] == phrase:
                    count += 1
                    covered |= set(range(at, at + len(phrase)))
        assert values["listed_count"][index] == count
        assert values["listed_fraction"][index] == pytest.approx(len(covered) / max(len(folded), 1))


@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_text_of_one_word_or_more_finds_itself_and_neighbours_do_not_count(texts: list[str]) -> None:
    for text in texts:
        if words.measure(from_texts([f"a {text}"]), words.compile_list(["a"]))["listed_fraction"][0] == 1:
            continue  # no word in it, or that one
        entry = words.compile_list([text])
        found = words.measure(from_texts([*texts, text, "x"]), entry)
        assert found["listed_fraction"][len(texts)] == 1
        assert found["listed_count"][-1] == words.measure(from_texts(["x"]), entry)["listed_count"][0]


@pytest.mark.parametrize(
    ("text", "entry", "count"),
    [
        ("NAIVE na\u0308ive nai\u0308ve naïve naives", "Naïve", 4),
        ("ЁЛКА елка", "ёлка", 2),
        ("我们的自由", "自由", 1),
        ("don't, don t", "don't", 2),
        ("snake_case snake case", "snake case", 1),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}\N{MATHEMATICAL BOLD SMALL B}", "ab", 1),
        ("\N{GRINNING FACE}bad\N{GRINNING FACE}", "bad", 1),
    ],
)
def test_spellings_of_one_word_are_one(text: str, entry: str, count: int) -> None:
    assert words.measure(from_texts([text]), words.compile_list([entry]))["listed_count"][0] == count


def test_an_entry_without_a_word_and_an_empty_list() -> None:
    with pytest.raises(ValueError, match="got the list entry '!!'"):
        words.compile_list(["fine", "!!"])
    assert words.measure(from_texts(["a"]), words.compile_list([]))["listed_count"].tolist() == [0]
