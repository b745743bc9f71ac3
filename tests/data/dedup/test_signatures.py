"""Signatures against their definition, their error against theory, and the recall of the bands."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import signatures, similarity
from millrace.data.text import folding
from millrace.data.text.batch import from_texts
from millrace.data.text.hashing import GOLDEN, mix

U64, U32 = 2**64 - 1, 2**32 - 1
TEXTS = st.lists(st.text(st.sampled_from("aab, é日\n"), max_size=40), min_size=1, max_size=6)


def mixed(value: int) -> int:
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & U64
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & U64
    return value ^ value >> 31


def shingle_hashes(text: str, size: int) -> list[int]:
    """The definition: words' polynomials, mixed, then a polynomial over them, mixed."""
    words = []
    for word in folding.fold(text).split():
        value = 0
        for byte in word.encode():
            value = (value * 0xD1342543DE82EF95 + byte) & U64
        words.append(((value ^ value >> 32) * 0xBF58476D1CE4E5B9) & U64)
    size = min(size, len(words))
    found = []
    for at in range(len(words) - size + 1 if words else 0):
        value = 0
        for hashed in words[at : at + size]:
            value = (value * 0x9E3779B97F4A7C15 + hashed) & U64
        found.append(mixed(value))
    return found


def pair_of_texts(rng: np.random.Generator, words: int, changed: int) -> list[str]:
    """Two texts of random words that differ in some."""
    one = [f"w{n}" for n in rng.integers(0, 10**6, words)]
    two = list(one)
    for at in rng.choice(words, changed, replace=False):
        two[at] = f"x{rng.integers(0, 10**6)}"
    return [" ".join(one), " ".join(two)]


def true_similarity(texts: list[str]) -> float:
    one, two = ({tuple(t.split()[i : i + 5]) for i in range(max(len(t.split()) - 4, 1))} for t in texts)
    return len(one & two) / len(one | two)


@given(TEXTS, st.integers(1, 6))
def test_signatures_are_least_hashes(texts: list[str], size: int) -> None:
    """Band keys and sketches are those of least hashes over the shingles, computed here one by one."""
    found = signatures.sign(from_texts(texts), size, 2, 3)
    stream = (mix(np.arange(1, 13, dtype=np.uint64) * GOLDEN) >> np.uint64(32)).tolist()
    for row, text in enumerate(texts):
        grams = shingle_hashes(text, size)
        least = [
            min([((gram >> 32) * (by | 1) + plus) & U32 for gram in grams] + [U32])
            for plus, by in zip(stream[:6], stream[6:], strict=True)
        ]
        assert found.shingles[row] == len(grams)
        assert found.sketches[row].tolist() == [(value * 0x9E3779B1 & U32) >> 24 for value in least]
        for band in range(2):
            key = (band + 1) * int(GOLDEN) & U64
            for value in least[3 * band : 3 * band + 3]:
                key = mixed((key + value) & U64)
            assert found.keys[row, band] == key


@given(TEXTS, st.integers(1, 6))
def test_shingle_sets_are_the_distinct_shingles(texts: list[str], size: int) -> None:
    """Each set holds every shingle of its text once, whichever texts are asked for."""
    rows = np.arange(len(texts))[::2]
    sets = signatures.shingle_sets(from_texts(texts), rows, size)
    for place, row in enumerate(rows.tolist()):
        own = sets.shingles[sets.starts[place] : sets.starts[place] + sets.sizes[place]].tolist()
        assert own == list(dict.fromkeys(shingle_hashes(texts[row], size)))


def test_estimates_lie_within_the_errors_that_theory_gives() -> None:
    """Over many pairs the estimate is unbiased and its spread is that of 112 coin tosses."""
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(400):
        texts = pair_of_texts(rng, 300, int(rng.integers(0, 30)))
        truth = true_similarity(texts)
        sketch = signatures.sign(from_texts(texts), 5, 14, 8).sketches
        deviation = np.sqrt(max(truth * (1 - truth), 1e-4) / 112)
        errors.append((similarity.estimate(sketch[:1], sketch[1:])[0] - truth) / deviation)
    assert np.abs(errors).max() < 4.5
    assert abs(np.mean(errors)) < 4 / np.sqrt(400)
    assert 0.8 < np.std(errors) < 1.2


def test_bands_recall_what_the_formula_says() -> None:
    """At every similarity the share of pairs that meet is 1 - (1 - s^8)^14."""
    rng = np.random.default_rng(2)
    for changed in (3, 6, 9, 13, 18):
        texts = [text for _ in range(300) for text in pair_of_texts(rng, 200, changed)]
        truth = [true_similarity(texts[at : at + 2]) for at in range(0, 600, 2)]
        keys = signatures.sign(from_texts(texts), 5, 14, 8).keys
        met = (keys[::2] == keys[1::2]).any(axis=1).sum()
        chances = np.array([signatures.meeting_probability(s, 14, 8) for s in truth])
        assert abs(met - chances.sum()) < 4 * np.sqrt((chances * (1 - chances)).sum()) + 1


def test_an_empty_batch_has_no_signatures() -> None:
    """Shapes hold without documents."""
    found = signatures.sign(from_texts([]), 5, 14, 8)
    assert (found.keys.shape, found.sketches.shape) == ((0, 14), (0, 112))
