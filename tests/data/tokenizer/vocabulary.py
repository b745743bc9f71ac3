"""A small vocabulary written by hand, of either algorithm."""

from __future__ import annotations

from collections.abc import Mapping

from millrace.data.tokenizer.encoder_kernels import EncoderTables
from millrace.data.tokenizer.encoder_tables import SPACE_MARK, encoder_tables
from millrace.data.tokenizer.encoder_words import Cuts
from millrace.data.tokenizer.sentencepiece_model import BYTE, CONTROL, NORMAL, Model, Piece

PIECES = {" ": -2.0, "a": -3.0, "b": -3.5, "ab": -4.0, "ba": -4.25, "aba": -5.0, "é": -6.0, "b a": -7.0}


def model(algorithm: str = "unigram", pieces: Mapping[str, float] = PIECES) -> Model:
    """Control symbols, 256 bytes, and these pieces with their scores."""
    made = [Piece("<s>", 0.0, CONTROL)]
    made += [Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    made += [Piece(text.replace(" ", SPACE_MARK), score, NORMAL) for text, score in pieces.items()]
    return Model(tuple(made), algorithm, byte_fallback=True, plain=True)


def tables(algorithm: str = "unigram", pieces: Mapping[str, float] = PIECES) -> tuple[Cuts, EncoderTables]:
    """Of that model."""
    found = encoder_tables(model(algorithm, pieces))
    assert found is not None
    return found


FIRST = 257  # id of the first piece
