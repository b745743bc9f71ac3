"""A model's bytes say what SentencePiece reads from them."""

from __future__ import annotations

import pytest
import sentencepiece

from millrace.data.tokenizer import sentencepiece_model, training
from millrace.data.tokenizer import tokenizer as tokenizers

TEXTS = [f"def function_{i}(x):\n\treturn x + {i}  # größer 日本\n" for i in range(300)]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_every_piece_is_read(algorithm: str) -> None:
    """Spelling, score and kind of every id agree with SentencePiece's own."""
    data = training.train(
        TEXTS, vocab_size=320, algorithm=algorithm, special=tokenizers.CHAT_TOKENS, character_coverage=1.0
    )
    model = sentencepiece_model.parse(data)
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert (model.algorithm, model.byte_fallback, model.plain) == (algorithm, True, True)
    assert len(model.pieces) == processor.vocab_size()
    for index, piece in enumerate(model.pieces):
        assert piece.text == processor.id_to_piece(index)
        assert piece.score == processor.get_score(index)
        assert (piece.kind == sentencepiece_model.CONTROL) == processor.is_control(index)
        assert (piece.kind == sentencepiece_model.BYTE) == processor.is_byte(index)
        assert (piece.kind == sentencepiece_model.UNKNOWN) == processor.is_unknown(index)
    assert model.pieces[processor.piece_to_id("\t")].kind == sentencepiece_model.USER_DEFINED


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a\x7f", b"not a model", b"\x0a\x02\x18\x01"])
def test_other_bytes_are_refused(data: bytes) -> None:
    """A file that is no model raises one clear error."""
    with pytest.raises(ValueError, match="SentencePiece model"):
        sentencepiece_model.parse(data)
