"""Gopher's repetition values against a plain reading of the paper over Python strings."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.data.filters import gopher_repetition
from millrace.data.filters.batch import from_texts

WORDS = st.lists(st.sampled_from(["a", "bb", "é", "d."]), max_size=40)
TEXTS = st.lists(WORDS.map(" ".join), max_size=6).flatmap(
    lambda lines: st.lists(
        st.sampled_from(["\n", "\n\n", "\n \n", " "]), min_size=len(lines), max_size=len(lines)
    ).map(lambda ends: "".join(line + end for line, end in zip(lines, ends, strict=True)))
)


def repeats(parts: list[tuple[str, ...]], text: str) -> tuple[float, float]:
    """Shares of parts, and of the text's characters in parts, that occurred before."""
    again = [part for index, part in enumerate(parts) if part in parts[:index]]
    return len(again) / max(len(parts), 1), sum(len("".join(part)) for part in again) / max(len(text), 1)


def reference(text: str) -> dict[str, float]:
    lines = [(line.strip(),) for line in text.split("\n") if line.strip()]
    paragraphs = [
        tuple(line.strip() for line in paragraph.split("\n") if line.strip())
        for paragraph in re.split(r"\n[ \t]*\n", text.replace("\n", "\n\n").replace("\n\n", "\n"))
        if paragraph.strip()
    ]
    values: dict[str, float] = {}
    values["duplicate_line_fraction"], values["duplicate_line_character_fraction"] = repeats(lines, text)
    share, characters = repeats(paragraphs, text)
    values["duplicate_paragraph_fraction"], values["duplicate_paragraph_character_fraction"] = (
        share,
        characters,
    )
    words = text.split()
    for n in (2, 3, 4):
        counts = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
        best = max((count * len(" ".join(gram)) for gram, count in counts.items() if count > 1), default=0)
        values[f"top_{n}_gram_character_fraction"] = min(1, best / max(len(text), 1))
    for n in range(5, 11):
        seen, covered = set(), set()
        positions, at = [], 0
        for word in words:
            positions.append((at, at + len(word)))
            at += len(word) + 1
        for first in range(len(words) - n + 1):
            gram = tuple(words[first : first + n])
            if gram in seen:
                covered |= set(range(positions[first][0], positions[first + n - 1][1]))
            seen.add(gram)
        values[f"duplicate_{n}_gram_character_fraction"] = min(1, len(covered) / max(len(text), 1))
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


def test_a_text_without_repetition_measures_zero_and_one_of_a_single_line_nearly_one() -> None:
    distinct = " ".join(f"w{index}" for index in range(200))
    values = gopher_repetition.measure(from_texts([distinct, "say it again and again now\n" * 200]))
    assert all(column[0] == 0 for column in values.values())
    assert values["duplicate_line_fraction"][1] == pytest.approx(0.995)
    assert values["duplicate_5_gram_character_fraction"][1] > 0.9
