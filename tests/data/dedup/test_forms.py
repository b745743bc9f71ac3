"""Digests of normal forms are equal exactly when the normal forms are."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from millrace.data.dedup import forms
from millrace.data.text.batch import from_texts

ALPHABET = st.sampled_from(
    "aBé É\t\n\u00a0\u2003\u0301\u0323ßẞİ\u0131\u03c3ςΣﬁ²日ไ\u1112\u1161\u11ab\ud55c\u212b\u0958😀e-"
)
TEXTS = st.lists(st.text(ALPHABET | st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6)


def normal(text: str) -> str:
    """The definition, on strings."""
    folded = "".join(
        " " if character.isspace() else character.casefold()
        for character in unicodedata.normalize("NFC", text)
    )
    return re.sub(" +", " ", folded).strip(" ")


@given(TEXTS)
@example(
    ["e\u0301 A", "É\u2003a", "\u1112\u1161\u11ab", "\ud55c", "\u212b", "å", "a\u0323\u0301", "a\u0301\u0323"]
)
@example([" a", "a", "\ta \n", "  ", "", "a  b", "a b", "ab"])
@example(["", " ", "\x00", "\x00\x00", "a", "a\x00", "abcdefgh", "abcdefgh\x00"])
def test_digests_are_equal_exactly_for_equal_normal_forms(texts: list[str]) -> None:
    """The kernels agree with NFC, case folding and collapsed white space done on strings."""
    expected = [normal(text) for text in texts]
    found = forms.digests(from_texts(texts)).tolist()
    for i in range(len(texts)):
        for j in range(i):
            assert (found[i] == found[j]) == (expected[i] == expected[j])


def test_every_character_that_normalisation_touches_is_known() -> None:
    """Whatever NFC changes alone, behind a letter or behind a mark, is one of the characters that Python looks at."""
    known = forms._unsettled()
    for point in (*range(0x80, 0xD800), *range(0xE000, 0x30000)):
        character = chr(point)
        for text in (character, "a\u0315" + character, "\u1100" + character):
            if unicodedata.normalize("NFC", text) != text:
                assert known[point], hex(point)
