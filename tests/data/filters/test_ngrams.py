"""Hashed words and n-grams are equal exactly when the words are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.filters import ngrams
from millrace.data.text import folding
from millrace.data.text.batch import from_texts

TEXTS = st.lists(st.text(st.sampled_from("ab, é日"), max_size=25), min_size=1, max_size=5)


@settings(deadline=None)
@given(TEXTS)
def test_words_are_those_of_the_folded_text(texts: list[str]) -> None:
    """Words, their places and their hashes agree with splitting the folded text."""
    found = ngrams.words(from_texts(texts))
    hash_of: dict[str, int] = {}
    for row, text in enumerate(texts):
        part = slice(found.offsets[row], found.offsets[row + 1])
        expected = folding.fold(text).split()
        folded = text.encode() if text.isascii() else folding.fold(text).encode()
        spans = zip(found.starts[part], found.ends[part], strict=True)
        assert [folded[start:end].decode().lower() for start, end in spans] == expected
        for word, value in zip(expected, found.hashes[part].tolist(), strict=True):
            assert hash_of.setdefault(word, value) == value
    assert len(set(hash_of.values())) == len(hash_of)


@settings(deadline=None)
@given(TEXTS, st.integers(1, 6), st.integers(1, 6))
def test_grams_equal_tuples_of_words(texts: list[str], size: int, min_words: int) -> None:
    """The rolling hash gives one value per tuple of words, whatever came before it."""
    found = ngrams.grams(ngrams.words(from_texts(texts)), size, min_words)
    hash_of: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(texts):
        words = folding.fold(text).split()
        expected = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        if not expected and len(words) >= min_words:
            expected = [tuple(words)]
        values = found.hashes[found.offsets[row] : found.offsets[row + 1]].tolist()
        for gram, value in zip(expected, values, strict=True):
            assert hash_of.setdefault(gram, value) == value
    assert len(set(hash_of.values())) == len(hash_of)
