"""Words and triples against a reference over strings."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination import triples, words
from millrace.data.text.batch import from_texts

WORDS = st.lists(st.sampled_from("abcd"), max_size=9)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=4))
def test_found_are_all_triples_that_texts_share_with_examples(
    examples: list[list[str]], texts: list[list[str]]
) -> None:
    """Hits, their places and document frequencies are those of comparing tuples of words."""
    fields = from_texts([" ".join(example) for example in examples])
    first = np.arange(len(examples) + 1)
    found = words.words(fields)
    posted = triples.postings(found, first, np.full(len(examples), -1))
    expected = set()
    for number, example in enumerate(examples):
        for i, a, b in np.ndindex(len(example), 2, 2):
            at = (i, i + a + 1, i + a + b + 2)
            if at[2] < len(example):
                expected.add((number, at, tuple(example[place] for place in at)))
    assert (np.diff(posted.hashes.astype(object)) >= 0).all()
    assert {
        (int(number), tuple(slots))
        for number, slots in zip(posted.examples, posted.slots.tolist(), strict=True)
    } == {(number, at) for number, at, _ in expected}
    batch = from_texts([" ".join(text) for text in texts])
    unique = np.unique(posted.hashes)
    hits = triples.find(words.hashes(batch), triples.lookup(unique))
    known = {own for _, _, own in expected}
    shared = [
        (row, place)
        for row, text in enumerate(texts)
        for place in range(len(text) - 2)
        if tuple(text[place : place + 3]) in known
    ]
    assert list(zip(hits.rows.tolist(), hits.places.tolist(), strict=True)) == shared
    kinds = {
        int(number): tuple(texts[row][at : at + 3])
        for number, (row, at) in zip(hits.found, shared, strict=True)
    }
    assert (
        len(set(kinds.values())) == len(kinds) == len({tuple(texts[row][at : at + 3]) for row, at in shared})
    )
    singles = np.unique(found.hashes)
    counts, triple_counts = triples.document_frequency(
        words.hashes(batch), triples.lookup(singles), triples.lookup(unique)
    )
    own = {word for example in examples for word in example}
    assert sorted(counts.tolist()) == sorted(sum(word in text for text in texts) for word in own)
    assert triple_counts.sum() == len({(row, tuple(texts[row][at : at + 3])) for row, at in shared})


def test_long_texts_are_looked_up_like_short_ones() -> None:
    """Hits across the words that are looked up together are found, those across two texts are not."""
    draw = random.Random(0)
    texts = [draw.choices(["a", "b", "c", "d", "e", "f"], k=size) for size in (1, 700, 2, 0, 1500, 3)]
    known = {("a", "b", "c"), ("f", "f", "a"), ("d", "a", "d")}
    found = words.words(from_texts([" ".join(triple) for triple in sorted(known)]))
    posted = triples.postings(found, np.arange(len(known) + 1), np.full(len(known), -1))
    hits = triples.find(
        words.hashes(from_texts([" ".join(text) for text in texts])), triples.lookup(posted.hashes)
    )
    assert list(zip(hits.rows.tolist(), hits.places.tolist(), strict=True)) == [
        (row, at)
        for row, text in enumerate(texts)
        for at in range(len(text))
        if tuple(text[at : at + 3]) in known
    ]


def test_layouts_with_letters_and_with_the_right_answer_alone_are_triples_too() -> None:
    """A question runs on to its right answer, and to each choice behind its letter."""
    fields = ["which animal barks", "cat", "dog of course", "cow"]
    found = words.words(from_texts(fields))
    posted = triples.postings(found, np.array([0, 4]), np.array([2]))
    lookup = triples.lookup(np.unique(posted.hashes))
    for text, hits in (
        ("which animal barks dog of course", 4),
        ("which animal barks a cat b dog of course c cow", 9),
        ("A. cat B. dog", 2),
    ):
        assert len(triples.find(words.hashes(from_texts([text])), lookup).rows) == hits, text
