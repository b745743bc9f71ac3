"""Gopher's quality values against a plain reading of the rules over Python strings."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.filters.heuristics import gopher_quality
from millrace.data.text.batch import from_texts

TEXTS = st.text(st.sampled_from("aTtheof#.…-•*é1中—\n\n\r\t  \u2028\u3000"), max_size=60)
PUNCTUATION = set(string.punctuation) | set("…•—") - {"•"}


def reference(text: str) -> dict[str, float]:
    words, lines = text.split(), text.splitlines()
    spoken = [word for word in words if any(c not in PUNCTUATION for c in word)]
    per_word, per_line = max(len(words), 1), max(len(lines), 1)
    return {
        "words": len(spoken),
        "mean_word_characters": sum(map(len, spoken)) / max(len(spoken), 1),
        "hash_fraction": text.count("#") / per_word,
        "ellipsis_fraction": (text.count("...") + text.count("…")) / per_word,
        "bullet_line_fraction": sum(line.lstrip().startswith(("-", "•")) for line in lines) / per_line,
        "ellipsis_line_fraction": sum(line.rstrip().endswith(("...", "…")) for line in lines) / per_line,
        "alphabetic_word_fraction": sum(any(c.isalpha() for c in w) for w in words) / per_word,
        "stop_words": len(set(words) & set(gopher_quality.STOP_WORDS)),
    }


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXTS, max_size=5))
def test_the_values_are_those_of_the_definitions(texts: list[str]) -> None:
    values = gopher_quality.measure(from_texts(texts))
    for index, text in enumerate(texts):
        expected = reference(text)
        assert {name: values[name][index] for name in expected} == pytest.approx(expected)


def test_stop_words_are_whole_words_of_the_language_given() -> None:
    batch = from_texts(["of the end, to (that) theme the", "der Hund und die Katze"])
    assert gopher_quality.measure(batch)["stop_words"].tolist() == [3, 0]
    assert gopher_quality.measure(batch, ["und", "die"])["stop_words"].tolist() == [0, 2]
    assert gopher_quality.measure(batch, [])["stop_words"].tolist() == [0, 0]


def test_an_empty_batch_gives_empty_values() -> None:
    assert all(len(values) == 0 for values in gopher_quality.measure(from_texts([])).values())
    assert np.isfinite(list(gopher_quality.measure(from_texts([""])).values())).all()
