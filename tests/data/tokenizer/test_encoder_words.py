"""Where text is cut into words: between characters that no piece holds side by side, and at every space mark."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tokenizer.vocabulary import PIECES, tables

from millrace.data.text.batch import from_texts
from millrace.data.tokenizer.encoder_words import cut_texts, pair_slot

CHARACTERS = "ab é等\u2581x1\n"
TEXTS = st.lists(st.text(CHARACTERS, max_size=40), min_size=1, max_size=5)
TOGETHER = {pair for text in PIECES for pair in itertools.pairwise(text)}
SLOTS = {pair_slot(ord(one), ord(two)) for one, two in TOGETHER}


def words_of(text: str) -> list[str]:
    """By brute force over the pieces; beyond ASCII as far as hashes tell."""
    words: list[str] = []
    for at, character in enumerate(text):
        before = text[at - 1] if at else ""
        if before and character < "\x80" > before:
            is_apart = (before, character) not in TOGETHER
        else:
            marks = "\u2581" in (before, character)
            is_apart = not before or marks or pair_slot(ord(before), ord(character)) not in SLOTS
        if is_apart:
            words.append("")
        words[-1] += character
    return words


@given(TEXTS, st.data())
def test_the_words_are_those_of_brute_force(texts: list[str], data: st.DataObject) -> None:
    cuts, _ = tables()
    batch = from_texts(texts)
    first = data.draw(st.integers(0, len(texts) - 1))
    last = data.draw(st.integers(first, len(texts)))
    starts = np.zeros(batch.data.size + 64, np.int32)
    first_words = np.zeros(len(texts) + 1, np.int64)
    count = cut_texts(batch.data, batch.offsets, first, last, cuts, starts, first_words)
    expected = [words_of(text) for text in texts[first:last]]
    assert first_words[: last - first + 1].tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    content = "".join(texts[first:last]).encode()
    edges = starts[: count + 1].tolist()
    found = [content[begin:end].decode() for begin, end in itertools.pairwise(edges)]
    assert found == [word for words in expected for word in words]
