"""Gopher's quality values against a plain reading of the paper over Python strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.data.filters import gopher_quality
from millrace.data.filters.batch import from_texts

BULLETS = "-*+•‣◦▪\u2013"
TEXTS = st.text(st.sampled_from("aTthe ofand#.…-•*é1\n\n\t  "), max_size=60)


def reference(text: str) -> dict[str, float]:
    words = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    per_word, per_line = max(len(words), 1), max(len(lines), 1)
    cores = {
        "".join(c for c in word.lower() if c.isalnum() or ord(c) > 127) for word in words if len(word) <= 8
    }
    return {
        "words": len(words),
        "mean_word_characters": sum(map(len, words)) / per_word,
        "hash_fraction": text.count("#") / per_word,
        "ellipsis_fraction": (text.count("...") + text.count("…")) / per_word,
        "bullet_line_fraction": sum(line[0] in BULLETS for line in lines) / per_line,
        "ellipsis_line_fraction": sum(line.endswith(("...", "…")) for line in lines) / per_line,
        "alphabetic_word_fraction": sum(any(c.isalpha() or ord(c) > 127 for c in w) for w in words)
        / per_word,
        "stop_words": len(cores & set(gopher_quality.STOP_WORDS)),
    }


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXTS, max_size=5))
def test_the_values_are_those_of_the_definitions(texts: list[str]) -> None:
    values = gopher_quality.measure(from_texts(texts))
    for index, text in enumerate(texts):
        expected = reference(text)
        if any(len(word) > 8 for word in text.split()):
            del expected["stop_words"]
        assert {name: values[name][index] for name in expected} == pytest.approx(expected)


def test_stop_words_are_found_in_any_case_and_beside_punctuation() -> None:
    batch = from_texts(["The end, OF (that)!", "der Hund und die Katze"])
    assert gopher_quality.measure(batch)["stop_words"].tolist() == [3, 0]
    assert gopher_quality.measure(batch, ["und", "die"])["stop_words"].tolist() == [0, 2]
    assert gopher_quality.measure(batch, [])["stop_words"].tolist() == [0, 0]


def test_an_empty_batch_gives_empty_values() -> None:
    assert all(len(values) == 0 for values in gopher_quality.measure(from_texts([])).values())
    assert np.isfinite(list(gopher_quality.measure(from_texts([""])).values())).all()
