"""MinHash against its definition, its error against theory, and the recall of the bands."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.data import minhash, ngrams
from millrace.data.filters.batch import from_texts
from millrace.data.permutation import GOLDEN, mix

FUNCTIONS = 112


def pair_of_texts(rng: np.random.Generator, words: int, changed: int) -> tuple[str, str]:
    """Two texts of random words that differ in some."""
    one = [f"w{n}" for n in rng.integers(0, 10**6, words)]
    two = list(one)
    for at in rng.choice(words, changed, replace=False):
        two[at] = f"x{rng.integers(0, 10**6)}"
    return " ".join(one), " ".join(two)


def shingle_sets(texts: list[str]) -> list[set[tuple[str, ...]]]:
    return [{tuple(t.split()[i : i + 5]) for i in range(max(len(t.split()) - 4, 1))} for t in texts]


def test_signatures_are_least_hashes() -> None:
    """Each value is the least of its hash function over the shingles, computed here one by one."""
    shingles = ngrams.grams(ngrams.words(from_texts(["a b c d e f g", "a b", "", "g f e d c b a"])), 5, 1)
    found = minhash.signatures(shingles, 6)
    stream = (mix(np.arange(1, 13, dtype=np.uint64) * GOLDEN) >> np.uint64(32)).tolist()
    for row in range(4):
        for function in range(6):
            values = [2**32 - 1]
            for gram in shingles.hashes[shingles.offsets[row] : shingles.offsets[row + 1]].tolist():
                mixed = ((gram >> 32) ^ stream[function]) * (stream[6 + function] | 1) % 2**32
                mixed = (mixed ^ mixed >> 15) * 0x2C1B3C6D % 2**32
                values.append(mixed ^ mixed >> 13)
            assert found[row, function] == min(values)


def test_estimates_lie_within_four_standard_errors() -> None:
    """Over many pairs the estimate is unbiased and its spread is that of 112 coin tosses."""
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(120):
        texts = pair_of_texts(rng, 300, int(rng.integers(0, 30)))
        one, two = shingle_sets(list(texts))
        truth = len(one & two) / len(one | two)
        signature = minhash.signatures(ngrams.grams(ngrams.words(from_texts(texts)), 5, 1), FUNCTIONS)
        deviation = np.sqrt(max(truth * (1 - truth), 1e-4) / FUNCTIONS)
        errors.append((minhash.estimate(signature[:1], signature[1:])[0] - truth) / deviation)
    assert np.abs(errors).max() < 4.5
    assert abs(np.mean(errors)) < 4 / np.sqrt(120)
    assert 0.7 < np.std(errors) < 1.3


def test_bands_recall_what_the_formula_says() -> None:
    """The share of pairs that meet at a similarity is 1 - (1 - s^8)^14."""
    rng = np.random.default_rng(2)
    met, expected = 0, 0.0
    for _ in range(150):
        texts = pair_of_texts(rng, 200, 7)
        one, two = shingle_sets(list(texts))
        similarity = len(one & two) / len(one | two)
        signature = minhash.signatures(ngrams.grams(ngrams.words(from_texts(texts)), 5, 1), FUNCTIONS)
        keys = minhash.band_keys(signature, 14)
        met += bool((keys[0] == keys[1]).any())
        expected += 1 - (1 - similarity**8) ** 14
    assert abs(met - expected) < 4 * np.sqrt(150 * 0.25)
    assert 20 < expected < 145


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=60))
def test_meetings_connect_every_bucket(entries: list[tuple[int, int]]) -> None:
    """Pairs only join members of a bucket, connect all of it, and are all pairs of small buckets."""
    keys = np.array([key for key, _ in entries], np.uint64)
    ranks = np.array([rank for _, rank in entries], np.int64)
    pairs = {tuple(pair) for pair in minhash.meetings(keys, ranks).tolist()}
    shuffled = np.random.default_rng(0).permutation(len(entries))
    assert pairs == {tuple(p) for p in minhash.meetings(keys[shuffled], ranks[shuffled]).tolist()}
    buckets = [sorted({r for k, r in entries if k == key}) for key in range(5)]
    allowed = {(b[i], b[j]) for b in buckets for j in range(len(b)) for i in range(j)}
    assert pairs <= allowed
    for bucket in buckets:
        assert {(bucket[0], other) for other in bucket[1:]} <= pairs


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 12)), min_size=2, max_size=6))
def test_jaccard_is_intersection_over_union(sets: list[set[int]]) -> None:
    """The merge of sorted arrays agrees with Python's sets."""
    values = np.concatenate([np.array(sorted(s), np.uint64) for s in sets])
    offsets = np.cumsum([0, *map(len, sets)])
    pairs = np.array([(i, j) for i in range(len(sets)) for j in range(len(sets))])
    expected = [len(sets[i] & sets[j]) / max(len(sets[i] | sets[j]), 1) for i, j in pairs]
    assert minhash.jaccard(values, offsets, pairs).tolist() == expected
