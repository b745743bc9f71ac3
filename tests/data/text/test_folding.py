"""Folding decides which words are equal, and leads back to characters."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.text import folding
from millrace.data.text.batch import from_texts

ALPHABET = st.sampled_from("aB_1 \t\n\r,.-éÉß日本ﬁ²Ⅷไทย\u0301😀İ")
TEXTS = st.lists(st.text(ALPHABET, max_size=20), max_size=6)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Don't STOP_it: 3.14!", ["don", "t", "stop_it", "3", "14"]),
        ("Crème Brûlée, STRASSE straße", ["creme", "brulee", "strasse", "strasse"]),
        ("ﬁne Ⅷ x²", ["fine", "viii", "x2"]),
        ("e\u0301t é", ["et", "e"]),
        ("日本語 text", ["日", "本", "語", "text"]),
    ],
)
def test_fold_gives_the_words(text: str, folded: list[str]) -> None:
    """Case, accents and compatibility forms fall away; unspaced scripts give a word per character."""
    assert folding.fold(text).split() == folded


@settings(deadline=None)
@given(TEXTS)
def test_folding_a_batch_equals_folding_each_text(texts: list[str]) -> None:
    """Rows beyond ASCII are replaced in place; the table does the same to ASCII rows."""
    batch = folding.fold_batch(from_texts(texts))
    for row, text in enumerate(texts):
        raw = batch.data[batch.offsets[row] : batch.offsets[row + 1]]
        through_table = bytes(byte or 32 for byte in folding.FOLD_TABLE[raw])
        assert through_table.decode().split() == folding.fold(text).split()


@settings(deadline=None)
@given(st.text(ALPHABET, min_size=1, max_size=30))
def test_every_word_leads_back_to_its_characters(text: str) -> None:
    """The characters that a folded word's bytes come from fold to that word."""
    folded = folding.fold_batch(from_texts([text])).data.tobytes().decode()
    for match in re.finditer(r"\w+", folded):
        first, end = len(folded[: match.start()].encode()), len(folded[: match.end()].encode())
        start_character, end_character = folding.character_span(text, first, end)
        assert match.group().lower() in folding.fold(text[start_character:end_character])
        assert end_character - start_character <= len(match.group()) + text.count("\u0301") + 3
