"""Chains against a reference over lists of words; what may not change a verdict, and what must."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination import chains, index, planted
from millrace.data.text.batch import from_texts

Row = tuple[Sequence[str], int]


def built(rows: Sequence[Row], sample: Sequence[str] = (), frequency: int = 10) -> index.Index:
    return index.build(index.prepare(index.Examples.of(rows)), from_texts(list(sample)), frequency).index


def pairs(found: chains.Matches) -> set[tuple[int, int]]:
    return set(zip(found.rows.tolist(), found.examples.tolist(), strict=True))


def postings(fields: Sequence[Sequence[str]], answer: int) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """The triples of an example with the slots that they cover, in the order in which ties are broken."""
    words = [word for field in fields for word in field]
    starts = np.cumsum([0, *(len(field) for field in fields)]).tolist()
    found = []
    for i in range(len(words)):
        for a in (1, 2):
            for b in (1, 2):
                if i + a + b < len(words):
                    found.append((i, i + a, i + a + b))
    named: list[tuple[tuple[str, ...], tuple[int, ...]]] = [
        (tuple(words[slot] for slot in at), at) for at in found
    ]
    if answer > 1:
        joined = [*range(starts[1])[-2:], *range(starts[answer], starts[answer + 1])[:2]]
        for at in range(len(joined) - 2):
            slots = tuple(joined[at : at + 3])
            if min(slots) < starts[1] and max(slots) >= starts[answer]:
                named.append((tuple(words[slot] for slot in slots), slots))
    return named


def best_chain(
    text: Sequence[str], own: Sequence[tuple[tuple[str, ...], tuple[int, ...]]], bits: Sequence[float]
) -> tuple[float, set[int], int, int]:
    """Score, slots, first word and end of the best chain, by the definition in the module's docstring."""
    places = [at for at in range(len(text) - 2) if any(words == tuple(text[at : at + 3]) for words, _ in own)]
    places = [at for at in places if any(0 < abs(at - other) <= chains.REACH_WORDS for other in places)]
    best: tuple[float, set[int], int, int] = (0.0, set(), 0, 0)
    score, slots, begin, end = 0.0, set[int](), 0, -1
    for place in places:
        if end >= 0:
            score -= chains.GAP_BITS * max(place - end, 0)
        if score <= 0 or end < 0:
            score, slots, begin, end = 0.0, set(), place, place
        fresh = range(max(end - place, 0), 3)
        offers = [at for words, at in own if words == tuple(text[place : place + 3])][: index.MAX_REPEATS]
        gains = [sum(bits[at[side]] for side in fresh if at[side] not in slots) for at in offers]
        chosen = offers[int(np.argmax(np.asarray(gains, np.float32)))]
        score += max(gains)
        slots = slots | {chosen[side] for side in fresh}
        end = max(end, place + 3)
        if score > best[0] + 1e-9:
            best = (score, slots, begin, place + 3)
    return best


WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "d", "e"]), max_size=8)


@given(
    st.lists(st.tuples(st.lists(WORDS, min_size=2, max_size=2), st.integers(0, 1)), min_size=1, max_size=3),
    st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "d", "e", "z"]), max_size=40), max_size=3),
)
def test_chains_are_those_of_the_reference(
    examples: list[tuple[list[list[str]], int]], texts: list[list[str]]
) -> None:
    """Score, words, coverage and place of what is found agree, and nothing else is found."""
    made = built([([" ".join(field) for field in fields], answer) for fields, answer in examples])
    rule = chains.Rule(min_coverage=0.3, min_score=6.0)
    found = chains.match(made, from_texts([" ".join(text) for text in texts]), rule)
    got = {}
    for at, pair in enumerate(zip(found.rows.tolist(), found.examples.tolist(), strict=True)):
        got[pair] = (
            found.scores[at],
            found.words[at],
            found.coverage[at, 0],
            found.starts[at],
            found.ends[at],
        )
    expected = {}
    for row, text in enumerate(texts):
        for number, (fields, answer) in enumerate(examples):
            bits = made.bits[made.first_slot[number] : made.first_slot[number + 1]].tolist()
            question = len(fields[0])
            score, slots, begin, end = best_chain(text, postings(fields, answer), bits)
            shares = [
                sum(bits[slot] for slot in slots if slot < size) / max(sum(bits[:size]), 1e-9)
                for size in (len(bits), question)
            ]
            if len(slots) < chains.MIN_WORDS or score < rule.min_score or max(shares) < rule.min_coverage:
                continue
            first, last = len(" ".join(text[:begin])) + (begin > 0), len(" ".join(text[:end]))
            expected[row, number] = (score, len(slots), shares[0], first, last)
    whole = {
        pair: values for pair, values in got.items() if values[1] >= chains.MIN_WORDS and values[0] >= 6.0
    }
    assert set(whole) == set(expected)
    for pair, values in expected.items():
        assert whole[pair] == pytest.approx(values, rel=1e-5)


DRAW = random.Random(3)
VOCABULARY = ["".join(DRAW.choices("bcdfghklmnprst", k=3)) + DRAW.choice("aeiou") for _ in range(3000)]


def prose(words: int) -> str:
    return " ".join(DRAW.choice(VOCABULARY) for _ in range(words))


QUESTIONS: list[Row] = [((prose(18), prose(4), prose(5), prose(3), prose(4)), 2) for _ in range(40)]
CORPUS = [prose(150) for _ in range(200)]
MADE = built(QUESTIONS, CORPUS)
RULE = chains.Rule(0.33, 20.0)


@given(st.integers(0, 39), st.sampled_from(planted.COPIES), st.integers(0, 999))
def test_copies_are_found_in_any_document_and_layout(number: int, kind: str, seed: int) -> None:
    """Case, punctuation, white space and layout make no difference, wherever in a document a copy stands."""
    draw = random.Random(seed)
    text = planted.changed(planted.layout(*QUESTIONS[number], draw), kind, draw)
    assert pairs(chains.match(MADE, from_texts([planted.insert(CORPUS[seed % 200], text, draw)]), RULE)) == {
        (0, number)
    }


@given(st.lists(st.integers(0, 39), max_size=3), st.randoms(use_true_random=False))
def test_documents_do_not_disturb_each_other(numbers: list[int], draw: random.Random) -> None:
    """A batch finds what its documents find one by one, in any order."""
    texts = [f"{CORPUS[number]}\n{QUESTIONS[number][0][0]}\n{CORPUS[-number]}" for number in numbers]
    texts += CORPUS[: draw.randrange(4)]
    draw.shuffle(texts)
    together = chains.match(MADE, from_texts(texts), RULE)
    for row, text in enumerate(texts):
        alone = chains.match(MADE, from_texts([text]), RULE)
        own = together.chosen(together.rows == row)
        assert all((a == b).all() for a, b in zip(alone[1:], own[1:], strict=True))


def test_copies_with_words_missing_are_mostly_found_and_shuffled_ones_are_not() -> None:
    """Of 40 examples nearly all are found with a third of their words gone, and cut to 40%."""
    found = {}
    for kind in planted.KINDS:
        draw = random.Random(1)
        texts = [planted.changed(planted.layout(*row, draw), kind, draw) for row in QUESTIONS]
        matches = pairs(chains.match(MADE, from_texts(texts), RULE))
        found[kind] = sum((row, row) in matches for row in range(40))
        assert all(row == example for row, example in matches)
    assert min(found[kind] for kind in planted.KINDS[:-1]) >= 38
    assert found["shuffled"] <= 2
    assert not len(chains.match(MADE, from_texts(CORPUS), RULE).rows)


def test_phrases_are_no_copies() -> None:
    """Five words from the middle of a question are none; as the beginning of a line, of a question's beginning, they are."""
    words = QUESTIONS[0][0][0].split()
    host = CORPUS[0]
    for text, expected in (
        (f"{host} {' '.join(words[6:11])} {host}", False),
        (f"{host} {' '.join(words[:6])} {host}", True),
        (f"{host} {' '.join(words[:5])} {host}", False),
        (f"{host}\n{' '.join(words[:6])}", True),
    ):
        is_found = bool(len(chains.match(MADE, from_texts([text]), chains.Rule(0.33, 20.0)).rows))
        assert is_found == expected, text


def test_a_document_that_has_the_same_words_over_and_over_earns_them_once() -> None:
    """Three words of an example repeated a hundred times are three words."""
    words = QUESTIONS[1][0][0].split()[3:6]
    assert not len(chains.match(MADE, from_texts([" ".join(words * 100)]), chains.Rule(0.01, 8.0)).rows)


def test_an_example_that_repeats_itself_takes_no_longer() -> None:
    """A table of zeros is a few triples, not one for each zero."""
    made = built([((" ".join(["0"] * 5000),), 0)], CORPUS[:2])
    assert made.runs.size == index.MAX_REPEATS + 1
    assert not len(chains.match(made, from_texts(["0 " * 5000]), RULE).rows)


@pytest.mark.parametrize("rows", [[], [(("short",), 0)], [(("", ""), 1)]])
def test_nothing_to_look_for_finds_nothing(rows: list[Row]) -> None:
    """No examples, or none with three words, contaminate nothing and cannot be checked."""
    made = built(rows, CORPUS[:2])
    assert not len(chains.match(made, from_texts(["some short text of words", ""]), RULE).rows)
    assert chains.checkable(made, RULE).tolist() == [False] * len(rows)


def test_long_examples_are_found_by_a_part() -> None:
    """Of a held-out text a third is a copy and a tenth is not."""
    text = prose(400)
    made = built([((text,), 0)], CORPUS)
    words = text.split()
    parts = [" ".join(words[100:240]), " ".join(words[100:140])]
    found = chains.match(made, from_texts([f"{CORPUS[0]} {part} {CORPUS[1]}" for part in parts]), RULE)
    assert found.rows.tolist() == [0]
    assert found.words.tolist() == [140]
