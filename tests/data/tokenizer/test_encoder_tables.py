"""A vocabulary as arrays: the trie holds its pieces and no other text, and what cannot be searched is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tokenizer.vocabulary import FIRST, PIECES, model, tables

from millrace.data.tokenizer.encoder_kernels import next_node
from millrace.data.tokenizer.encoder_tables import encoder_tables
from millrace.data.tokenizer.encoder_words import pair_slot
from millrace.data.tokenizer.sentencepiece_model import BYTE, UNUSED, USER_DEFINED, Piece

TEXTS = st.text("ab é", min_size=1, max_size=4)


def piece_of(found: Any, text: str) -> int:
    node = 0
    for byte in text.encode():
        node = next_node(found.trie, node, byte)
        if node < 0:
            return -1
    return int(found.node_piece[node])


@given(st.sets(TEXTS, min_size=1, max_size=12), TEXTS)
def test_the_trie_holds_the_pieces_and_nothing_else(texts: set[str], other: str) -> None:
    pieces = dict.fromkeys([" ", *sorted(texts - {" "})], -1.0)
    _, found = tables(pieces=pieces)
    ids = {text: FIRST + at for at, text in enumerate(pieces)}
    assert {text: piece_of(found, text) for text in pieces} == ids
    assert piece_of(found, other) == ids.get(other, -1)


def test_characters_are_apart_unless_a_piece_has_them_side_by_side() -> None:
    cuts, _ = tables()
    together = {pair for text in PIECES for pair in itertools.pairwise(text)}
    for first in "ab é":
        for second in "ab é":
            is_together = (first, second) in together
            assert bool(cuts.pairs[pair_slot(ord(first), ord(second))]) >= is_together
            if first < "\x80" > second:
                assert bool(cuts.ascii_pairs[ord(first) * 128 + ord(second)]) == is_together


def test_scores_ranks_and_bytes_are_those_of_the_model() -> None:
    _, found = tables()
    own = found.scores[FIRST:]
    assert own.tolist() == [np.float32(score) for score in PIECES.values()]
    assert np.argsort(found.ranks[FIRST:]).tolist() == np.argsort(-own, kind="stable").tolist()
    assert found.byte_ids.tolist() == list(range(1, 257))
    assert found.unknown_score == np.float32(min(PIECES.values()) - 10)
    # An unknown character costs once, on its first byte.
    assert found.added[1 + 0xC3] == found.unknown_score
    assert found.added[1 + 0xA9] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "word"},
        {"plain": False},
        {"byte_fallback": False},
        {"extra": Piece("<0xFF>", 0.0, BYTE)},
        {"extra": Piece("x", 0.0, UNUSED)},
        {"extra": Piece("<image>", 0.0, USER_DEFINED)},
        {"extra": Piece("a", 0.0, USER_DEFINED)},
        {"pieces": {"a": -1.0}},
    ],
    ids=str,
)
def test_a_vocabulary_that_kernels_would_read_otherwise_is_refused(change: dict[str, Any]) -> None:
    made = model(pieces=change.pop("pieces", PIECES))
    extra = change.pop("extra", None)
    made = made._replace(pieces=(*made.pieces, *([extra] if extra else [])), **change)
    assert encoder_tables(made) is None


def test_a_protected_character_scores_by_its_bytes() -> None:
    made = model()
    made = made._replace(pieces=(*made.pieces, Piece("等", 0.0, USER_DEFINED)))
    found = encoder_tables(made)
    assert found is not None
    assert found[1].scores[-1] == pytest.approx(0.2)
