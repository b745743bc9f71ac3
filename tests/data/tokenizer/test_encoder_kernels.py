"""The searches for a word's tokens against brute force over all ways to cut it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tokenizer.vocabulary import FIRST, PIECES, tables

from millrace.data.tokenizer import encoder_kernels as kernels
from millrace.data.tokenizer.encoder_kernels import Scratch

WORDS = st.text("abé等", min_size=1, max_size=8)
IDS = {text: FIRST + at for at, text in enumerate(PIECES)}


def ways(text: str, pieces: Mapping[str, float]) -> Iterator[list[str]]:
    """All ways to cut a text into pieces and unknown characters."""
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        if text[:end] in pieces or end == 1:
            yield from ([text[:end], *rest] for rest in ways(text[end:], pieces))


def ids_of(way: list[str]) -> list[int]:
    """Ids of pieces, and of the bytes of characters that are none."""
    return [
        number for part in way for number in ([IDS[part]] if part in IDS else [1 + b for b in part.encode()])
    ]


def score_of(way: list[str]) -> float:
    unknown = min(PIECES.values()) - 10
    return sum(PIECES.get(part, unknown) for part in way)


def data_of(text: str) -> np.ndarray:
    """The word with other bytes around it."""
    return np.frombuffer(b"#" + text.encode() + b"a", np.uint8)


def scratch() -> Scratch:
    places = 65
    return Scratch(
        best=np.empty(places, np.float64),
        second=np.empty(places, np.float64),
        begins=np.empty(places, np.int32),
        pieces=np.empty(places, np.int32),
        ids=np.empty(places, np.uint32),
    )


@given(WORDS)
def test_the_exact_search_finds_the_best_way_and_whether_it_is_alone(text: str) -> None:
    _, found = tables()
    own, size = scratch(), len(text.encode())
    count, limit = kernels.search_exactly(data_of(text), np.uint64(1), np.uint64(size), found, own)
    scores = sorted((score_of(way) for way in ways(text, PIECES)), reverse=True)
    best = [ids_of(way) for way in ways(text, PIECES) if score_of(way) == scores[0]]
    assert own.ids[:count].tolist() in best
    if len(scores) > 1 and scores[0] == scores[1]:
        assert limit <= 0  # nobody can tell which of two rounding prefers


@given(WORDS, st.sampled_from([0.0, -1000.0, 12345.0]))
def test_the_search_after_a_sum_finds_one_of_the_best_ways_and_goes_on_with_its_sum(
    text: str, before: float
) -> None:
    _, found = tables()
    ids = np.zeros(100, np.uint32)
    count, after = kernels.search_from(
        data_of(text), 1, len(text.encode()), found, np.float32(before), ids, 3
    )
    best = max(score_of(way) for way in ways(text, PIECES))
    assert ids[3 : 3 + count].tolist() in [
        ids_of(way) for way in ways(text, PIECES) if score_of(way) > best - 1e-2
    ]
    assert after == pytest.approx(before + best, abs=1e-1)


@given(WORDS)
def test_pairs_merge_best_first_and_of_equals_the_leftmost(text: str) -> None:
    """A list of symbols that is searched anew after each merge."""
    _, found = tables("bpe")
    ids = np.zeros(100, np.uint32)
    count = kernels.merge_pairs(data_of(text), 1, len(text.encode()), found, ids, 0)
    symbols = list(text)
    while True:
        pairs = [
            (-PIECES[one + two], at)
            for at, (one, two) in enumerate(itertools.pairwise(symbols))
            if one + two in PIECES
        ]
        if not pairs:
            break
        at = min(pairs)[1]
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    assert ids[:count].tolist() == ids_of(symbols)


@pytest.mark.parametrize("character", ["a", "é", "等", "😀"])
def test_a_character_has_as_many_bytes_as_its_first_says(character: str) -> None:
    encoded = character.encode()
    assert kernels.character_bytes(encoded[0]) == len(encoded)


@pytest.mark.parametrize(
    ("text", "is_mark"), [("\u2581", True), ("\u2580", False), ("abc", False), ("a", False)]
)
def test_the_mark_for_a_space_is_known(text: str, is_mark: bool) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    assert bool(kernels.is_mark(data, 0, data.size)) == is_mark
