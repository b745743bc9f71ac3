"""Folding decides which words are equal, and leads back to characters."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.text import folding
from millrace.data.text.batch import from_texts

ALPHABET = st.sampled_from(
    "aB_1 \t\n\r,.-éÉß日本ﬁ²Ⅷไทย\u0301😀İ\u0e35क\u093f\u094d\u200dが\u3099각\u11a8\u200b\u00ad"
)
TEXTS = st.lists(st.text(ALPHABET, max_size=20), max_size=6)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Don't STOP_it: 3.14!", ["don", "t", "stop_it", "3", "14"]),
        ("Crème Brûlée, STRASSE straße", ["creme", "brulee", "strasse", "strasse"]),
        ("ﬁne Ⅷ x²", ["fine", "viii", "x2"]),
        ("e\u0301t é", ["et", "e"]),
        ("日本語 text", ["日", "本", "語", "text"]),
        ("\u0915\u093e\u0932, \u0915\u094b\u0932", ["\u0915\u093e\u0932", "\u0915\u094b\u0932"]),
        ("\u0915\u094d\u200d\u0937 so\u00adft", ["\u0915\u094d\u0937", "soft"]),
        ("\u0e17\u0e35\u0e48abc", ["\u0e17\u0e35\u0e48", "abc"]),
        ("\u304c\u304b\u3099\uff76\uff9e", ["\u304b\u3099", "\u304b\u3099", "\u30ab\u3099"]),
        ("\u0643\u064e\u062a\u064e\u0628 \u05e9\u05c1\u05b8", ["\u0643\u062a\u0628", "\u05e9"]),
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


def test_vowel_signs_viramas_and_tones_spell_and_accents_do_not() -> None:
    """Every mark that its name calls a vowel, virama, nukta or tone of a script that spells with marks is kept."""
    spells = "VOWEL SIGN|VIRAMA|NUKTA|ANUSVARA|VISARGA|SUBJOINED|COENG|MAI |TONE|THAANA .*FILI"
    scripts_without = "COMBINING|ARABIC|NKO|VEDIC|HANGUL|IDEOGRAPHIC|SAMARITAN|BASSA VAH COMBINING"
    for character in map(chr, range(0x300, 0x20000)):
        name = unicodedata.name(character, "")
        if unicodedata.category(character) not in ("Mn", "Mc") or ord(character) in (0x3099, 0x309A):
            continue
        if re.search(spells, name) and not re.match(scripts_without, name):
            assert folding.is_mark(character), name
        if re.match("COMBINING|ARABIC|HEBREW|SYRIAC", name):
            assert folding.is_ignored(character), name
