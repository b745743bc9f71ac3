"""Gopher's repetition values against a plain reading of the rules over Python strings."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.filters.heuristics import gopher_repetition
from millrace.data.text.batch import from_texts

WORDS = st.lists(st.sampled_from(["a", "bb", "é", "d."]), max_size=40)
TEXTS = st.lists(WORDS.map(" ".join), max_size=6).flatmap(
    lambda lines: st.lists(
        st.sampled_from(["\n", "\n\n", "\n \n", " ", "\n\n  ", "\u3000\n"]),
        min_size=len(lines),
        max_size=len(lines),
    ).map(lambda ends: "".join(end + line + end for line, end in zip(lines, ends, strict=True)))
)


def repeats(parts: list[str], text: str) -> tuple[float, float]:
    """Shares of parts, and of the text's characters in parts, that occurred before."""
    again = [part for index, part in enumerate(parts) if part in parts[:index]]
    return len(again) / len(parts), sum(map(len, again)) / max(len(text), 1)


def duplicate_characters(words: list[str], n: int) -> int:
    """Characters of n-grams that occurred before, each search going on behind the last one found."""
    seen, at, found = set(), 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            found += len("".join(gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return found


def reference(text: str) -> dict[str, float]:
    values: dict[str, float] = {"characters": len(text)}
    for name, parts in (
        ("paragraph", re.split(r"\n{2,}", text.strip())),
        ("line", re.split(r"\n+", text)),
    ):
        share, characters = repeats(parts, text)
        values[f"duplicate_{name}_fraction"] = share
        values[f"duplicate_{name}_character_fraction"] = characters
    words = text.split()
    for n in (2, 3, 4):
        grams = [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]
        top = Counter(grams).most_common(1)
        values[f"top_{n}_gram_character_fraction"] = sum(len(g) * c for g, c in top) / max(len(text), 1)
    for n in range(5, 11):
        found = duplicate_characters(words, n)
        values[f"duplicate_{n}_gram_character_fraction"] = found / max(len(text), 1)
    return values


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXTS, max_size=4))
def test_the_values_are_those_of_the_definitions(texts: list[str]) -> None:
    values = gopher_repetition.measure(from_texts(texts))
    assert set(values) == set(gopher_repetition.VALUES)
    for index, text in enumerate(texts):
        expected = reference(text)
        assert {name: values[name][index] for name in expected} == pytest.approx(expected)


@settings(deadline=None)  # the first call compiles
@given(TEXTS, TEXTS)
def test_a_documents_values_do_not_depend_on_its_neighbours(one: str, two: str) -> None:
    alone = gopher_repetition.measure(from_texts([two]))
    beside = gopher_repetition.measure(from_texts([one, two]))
    assert all(alone[name][0] == beside[name][1] for name in alone)


def test_a_text_without_repetition_measures_little_and_one_of_a_single_line_nearly_one() -> None:
    distinct = " ".join(f"w{index}" for index in range(200))
    values = gopher_repetition.measure(from_texts([distinct, "say it again and again now\n" * 200]))
    assert all(column[0] < 0.02 for name, column in values.items() if name != "characters")
    assert values["duplicate_line_fraction"][1] == pytest.approx(199 / 201)
    assert values["duplicate_5_gram_character_fraction"][1] > 0.7
