"""A SentencePiece vocabulary as arrays that compiled code can search, and the places where text can be cut safely.

Between two characters that stand side by side in no piece there is always a token boundary, whatever stands around
them: no piece can cross it. So the text between two such places, a word, has the same tokens wherever it occurs, and
is encoded once. The places are read off the pieces and not guessed from the trainer's settings: between a letter and
a space, around digits, between scripts, after most newlines, for any vocabulary.

References:
    ``src/unigram_model.cc``, ``src/bpe_model.cc`` and ``src/model_interface.cc`` of SentencePiece 0.2: the scores of
    user defined and unknown pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.kernels import kernel

from .encoder_kernels import EncoderTables
from .encoder_words import PAIR_MASK, Cuts, pair_slot
from .sentencepiece_model import BYTE, NORMAL, UNUSED, USER_DEFINED, Model

SPACE_MARK = "\u2581"  # how a piece spells a space
UNKNOWN_PENALTY = 10.0  # kUnkPenalty: an unknown character scores that much below the rarest piece
USER_DEFINED_BONUS = 0.1  # GetUserDefinedScore: for each byte after the first


def encoder_tables(model: Model) -> tuple[Cuts, EncoderTables] | None:
    """Where a model's texts are cut and the tables to search its pieces, or None where compiled code would not do what SentencePiece does.

    That is a model that changes text before encoding it, lacks byte fallback or a piece for the space, knows other
    algorithms or unused pieces, or protects symbols of several characters.
    """
    kinds = [piece.kind for piece in model.pieces]
    searched = {
        piece.text: index for index, piece in enumerate(model.pieces) if piece.kind in (NORMAL, USER_DEFINED)
    }
    protected = [piece.text for piece in model.pieces if piece.kind == USER_DEFINED]
    if (
        model.algorithm not in ("unigram", "bpe")
        or not model.plain
        or not model.byte_fallback
        or kinds.count(BYTE) != 256
        or UNUSED in kinds
        or SPACE_MARK not in searched
        or any(len(text) != 1 or text == SPACE_MARK for text in protected)
        or any(symbol in text for symbol in protected for text in searched if text != symbol)
        or any(" " in text for text in searched)
    ):
        return None
    rarest = min(np.float32(piece.score) for piece in model.pieces if piece.kind == NORMAL)
    unknown_score = np.float32(rarest - np.float32(UNKNOWN_PENALTY))
    scores = np.array([piece.score for piece in model.pieces], np.float32)
    for text in protected:
        scores[searched[text]] = USER_DEFINED_BONUS * (len(text.encode()) - 1)
    byte_ids = np.zeros(256, np.int32)
    added = scores.copy()
    for index, piece in enumerate(model.pieces):
        if piece.kind == BYTE:
            value = int(piece.text[3:5], 16)
            byte_ids[value] = index
            added[index] = 0.0 if value & 0xC0 == 0x80 else unknown_score
    _, order = np.unique(-scores, return_inverse=True)
    plain = [text.replace(SPACE_MARK, " ") for text in searched]
    trie, node_piece = _trie(from_texts(plain), np.array(list(searched.values()), np.int32))
    return _adjacent(plain), EncoderTables(
        is_unigram=model.algorithm == "unigram",
        trie=trie,
        node_piece=node_piece,
        scores=scores,
        added=added,
        ranks=order.astype(np.int32),
        byte_ids=byte_ids,
        unknown_score=unknown_score,
        largest_score=max(abs(float(unknown_score)), float(np.abs(scores).max())),
    )


def _trie(
    pieces: TextBatch, ids: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The edges and the nodes' pieces of a trie over these texts."""
    most_nodes = pieces.data.size + 1
    node_piece = np.full(most_nodes, -1, np.int32)
    loose = np.zeros(1 << (2 * most_nodes).bit_length(), np.int64)
    nodes = _build_trie(pieces.data, pieces.offsets, ids, loose, node_piece)
    dense = np.zeros(
        1 << (nodes + nodes // 4).bit_length(), np.int64
    )  # fits the processor's cache where loose does not
    _build_trie(pieces.data, pieces.offsets, ids, dense, node_piece)
    return dense, node_piece[:nodes].copy()


@kernel
def _build_trie(data: Any, offsets: Any, ids: Any, trie: Any, node_piece: Any) -> int:
    """Fills ``trie`` and ``node_piece`` with pieces, for ``next_node`` to search; returns the number of nodes."""
    nodes = 1
    mask = trie.size - 1
    for piece in range(ids.size):
        node = 0
        for at in range(offsets[piece], offsets[piece + 1]):
            key = node * 256 + np.int64(data[at]) + 1
            mixed = key * 0x9E3779B1
            slot = (mixed ^ (mixed >> 15)) & mask
            while trie[slot] != 0 and trie[slot] >> 32 != key:
                slot = (slot + 1) & mask
            if trie[slot] == 0:
                trie[slot] = (key << 32) | nodes
                nodes += 1
            node = trie[slot] & 0xFFFFFFFF
        node_piece[node] = ids[piece]
    return nodes


def _adjacent(texts: Sequence[str]) -> Cuts:
    """The pairs of adjacent characters in some text: exactly for ASCII, and hashed for all."""
    ascii_pairs = np.zeros(128 * 128, np.uint8)
    pairs = np.zeros(PAIR_MASK + 1, np.uint8)
    for text in texts:
        for first, second in pairwise(map(ord, text)):
            if first < 128 and second < 128:
                ascii_pairs[first * 128 + second] = 1
            pairs[pair_slot(first, second)] = 1
    return Cuts(ascii_pairs, pairs)
