"""Overlap against brute force over tuples of words."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.data import normalise, overlap
from millrace.data.filters.batch import from_texts

SIZE, LEAST = 4, 2
TEXTS = st.lists(st.lists(st.sampled_from("abcé"), max_size=14).map(", ".join), max_size=6)


def grams_of(text: str) -> set[tuple[str, ...]]:
    words = normalise.fold(text).split()
    if len(words) >= SIZE:
        return {tuple(words[i : i + SIZE]) for i in range(len(words) - SIZE + 1)}
    return {tuple(words)} if len(words) >= LEAST else set()


def holds(document: str, gram: tuple[str, ...]) -> bool:
    words = normalise.fold(document).split()
    return any(tuple(words[i : i + len(gram)]) == gram for i in range(len(words)))


def rule_of(common: list[bool] | np.ndarray, coverage: float) -> overlap.Rule:
    return overlap.Rule(np.array(common, bool), coverage)


@settings(deadline=None, max_examples=150)
@given(TEXTS, TEXTS, st.integers(0, 2), st.sampled_from([0.01, 0.3, 1.0]))
def test_verdicts_equal_brute_force(
    examples: list[str], texts: list[str], frequency: int, coverage: float
) -> None:
    """Found n-grams, document frequencies and contaminated pairs are those of comparing tuples of words."""
    is_text = [number % 2 == 0 for number in range(len(examples))]
    index = overlap.GramIndex.build(examples, is_text, SIZE, LEAST)
    assert index.example_grams.tolist() == [len(grams_of(example)) for example in examples]
    hits = overlap.find(index, from_texts(texts))
    known = set().union(*(grams_of(example) for example in examples))
    assert index.hashes.size == len(known)
    common = {gram for gram in known if sum(holds(text, gram) for text in texts) > frequency}
    is_common = overlap.documents_with(index, hits) > frequency
    assert is_common.sum() == len(common)
    expected = {}
    for row, text in enumerate(texts):
        for number, example in enumerate(examples):
            counted = grams_of(example) - (common if is_text[number] else set())
            shared = sum(holds(text, gram) for gram in counted)
            if shared and (not is_text[number] or shared / len(counted) >= coverage):
                expected[row, number] = (shared, shared / len(counted))
    found = overlap.judge(index, hits, rule_of(is_common, coverage))
    pairs = zip(found.rows.tolist(), found.examples.tolist(), strict=True)
    assert dict(zip(pairs, zip(found.shared, found.coverage, strict=True), strict=True)) == expected


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_all_documents_together_hold_what_each_holds(examples: list[str], texts: list[str]) -> None:
    """An example is contaminated by a set of documents when their n-grams together repeat it."""
    index = overlap.GramIndex.build(examples, [True] * len(examples), SIZE, LEAST)
    hits = overlap.find(index, from_texts(texts))
    rule = rule_of(np.zeros(index.hashes.size, bool), 0.5)
    is_found = overlap.documents_with(index, hits) > 0
    for number, example in enumerate(examples):
        grams = grams_of(example)
        shared = {gram for gram in grams if any(holds(text, gram) for text in texts)}
        verdict = overlap.contaminated_by(index, is_found, rule)[number]
        assert verdict == bool(shared and len(shared) / len(grams) >= 0.5)


def test_the_span_is_the_longest_repeated_stretch() -> None:
    """Of two repeated passages the longer is shown, as the characters that the document has there."""
    words = [f"w{i}" for i in range(30)]
    example = " ".join(words)
    document = "É " + " ".join(words[:5]) + " other " + ", ".join(w.upper() for w in words[8:20]) + "! end"
    index = overlap.GramIndex.build([example], [False], SIZE, LEAST)
    hits = overlap.find(index, from_texts([document]))
    rule = rule_of(np.zeros(index.hashes.size, bool), 0.5)
    start, end = normalise.character_span(document, *overlap.longest_span(index, hits, 0, 0, rule))
    assert document[start:end] == ", ".join(w.upper() for w in words[8:20])


def test_an_index_survives_its_file(tmp_path: Path) -> None:
    """What workers load finds what was saved."""
    index = overlap.GramIndex.build(["a b c d e", "x"], [True, False], SIZE, LEAST)
    index.save(tmp_path / "index.npz")
    loaded = overlap.GramIndex.load(tmp_path / "index.npz")
    batch = from_texts(["z a b c d", ""])
    assert overlap.find(loaded, batch).grams.tolist() == overlap.find(index, batch).grams.tolist()
    assert loaded.example_grams.tolist() == [2, 0]


@pytest.mark.parametrize("examples", [[], ["short"]])
def test_nothing_to_look_for_finds_nothing(examples: list[str]) -> None:
    """No examples, or none long enough, contaminate nothing."""
    index = overlap.GramIndex.build(examples, [False] * len(examples), SIZE, LEAST)
    hits = overlap.find(index, from_texts(["some short text of words"]))
    assert len(hits.rows) == 0
    assert len(overlap.judge(index, hits, rule_of([], 0.5)).rows) == 0


def test_many_grams_are_found_behind_the_bitmap() -> None:
    """With 20,000 n-grams every planted one is found and no other."""
    rng = random.Random(0)
    examples = [" ".join(f"q{rng.randrange(10**6)}" for _ in range(50)) for _ in range(430)]
    index = overlap.GramIndex.build(examples, [False] * 430, 13, 8)
    texts = [" ".join(f"t{rng.randrange(10**6)}" for _ in range(500)) for _ in range(40)]
    texts[7] += " " + " ".join(examples[11].split()[20:40])
    found = overlap.judge(
        index, overlap.find(index, from_texts(texts)), rule_of(np.zeros(index.hashes.size, bool), 0.2)
    )
    assert (found.rows.tolist(), found.examples.tolist(), found.shared.tolist()) == ([7], [11], [8])
