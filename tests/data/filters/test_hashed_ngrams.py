"""Hashed n-grams against a dictionary of words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.filters import hashed_ngrams
from millrace.data.text.batch import from_texts

WORDS = st.lists(st.sampled_from(["Alpha", "beta", "gamma,", "δ", "42"]), max_size=12)


def buckets_of(text: str, max_words: int = 100) -> list[int]:
    return hashed_ngrams.features(from_texts([text]), bits=31, max_words=max_words).buckets.tolist()


@given(st.lists(WORDS, max_size=5), st.integers(1, 14))
def test_a_text_has_its_first_words_and_their_pairs_each_in_its_own_bucket(
    texts: list[list[str]], max_words: int
) -> None:
    found = hashed_ngrams.features(
        from_texts([" ".join(words) for words in texts]), bits=31, max_words=max_words
    )
    for row, words in enumerate(texts):
        expected: list[int] = []
        for at, word in enumerate(words[:max_words]):
            expected += buckets_of(word)
            if at:
                expected.append(buckets_of(f"{words[at - 1]} {word}")[1 + 1])
        got = found.buckets[found.offsets[row] : found.offsets[row + 1]].tolist()
        # A word, then from the second on the pair that it ends.
        order = sorted(expected)
        assert sorted(got) == order


def test_case_and_punctuation_do_not_count_but_order_does() -> None:
    assert buckets_of("The cat, sat") == buckets_of("the CAT sat!")
    assert sorted(buckets_of("cat the sat")) != sorted(buckets_of("the cat sat"))


def test_buckets_lie_below_two_to_the_bits_and_spread() -> None:
    text = " ".join(f"word{number}" for number in range(20_000))
    found = hashed_ngrams.features(from_texts([text]), bits=12, max_words=20_000)
    counts = np.bincount(found.buckets, minlength=4096)
    assert counts.size == 4096
    # Poisson with mean 9.8: the variance equals the mean.
    assert counts.var() == pytest.approx(counts.mean(), rel=0.15)


def test_scores_are_sums_over_the_root_of_the_number() -> None:
    found = hashed_ngrams.Features(np.array([0, 1, 1, 2], np.int32), np.array([0, 4, 4], np.int64))
    weights = np.array([1.0, 2.0, 4.0], np.float32)
    assert hashed_ngrams.scores(found, weights, 0.5).tolist() == [9 / 2 + 0.5, 0.5]
