"""The grams of a phrase are among those of every text that contains it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents.text_grams import BLOCK_BITS, GRAM_BYTES, grams_of

TEXTS = st.text(st.sampled_from("ab é漢 \n\t"), max_size=25)


@given(TEXTS, TEXTS, TEXTS)
def test_a_text_has_the_grams_of_its_parts(before: str, phrase: str, after: str) -> None:
    """However white space is written around and inside of the phrase."""
    inside = set(grams_of(phrase))
    assert inside <= set(grams_of(before + phrase + after))
    assert inside <= set(grams_of(before + phrase.replace(" ", "\n  ") + after))
    assert all(0 <= gram < BLOCK_BITS for gram in inside)


@given(TEXTS)
def test_there_is_a_gram_for_each_run_of_bytes(text: str) -> None:
    """Each once; runs of white space count as one byte."""
    words = b" ".join(f"x{text}x".encode().split())[1:-1]
    runs = {words[at : at + GRAM_BYTES] for at in range(len(words) - GRAM_BYTES + 1)}
    found = grams_of(text)
    assert len(found) == len(set(found)) <= len(runs)
    assert bool(found) == bool(runs)
