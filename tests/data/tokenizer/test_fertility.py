"""Fertility counts what SentencePiece gives, and smaller vocabularies are what training would have made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millrace.data.tokenizer import fertility, sentencepiece_model
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training

CODE = Path(str(fertility.__file__)).read_text(encoding="utf-8")
TEXTS = [CODE, "Größe 日本\r\n\t \U0001f600" * 10, ""]


def trained(algorithm: str, vocab_size: int) -> bytes:
    return tokenizer_training.train(
        [CODE] * 3,
        vocab_size=vocab_size,
        algorithm=algorithm,
        special=tokenizers.CHAT_TOKENS,
        character_coverage=1.0,
    )


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_figures_are_those_of_sentencepiece(algorithm: str) -> None:
    """Counts, bytes per token and shares agree with SentencePiece's ids, counted one by one."""
    data = trained(algorithm, 420)
    model, tokenizer = sentencepiece_model.parse(data), tokenizers.Tokenizer(data, tokenizers.CHAT_TOKENS)
    ids = [token for own in tokenizer.encode_batch(TEXTS) for token in own]
    assert (fertility.token_counts(model, TEXTS) == np.bincount(ids, minlength=420)).all()
    figures = fertility.fertility(model, TEXTS)
    assert figures["tokens"] == len(ids)
    assert figures["bytes"] == sum(len(text.encode()) for text in TEXTS)
    assert figures["bytes_per_token"] == figures["bytes"] / len(ids)
    spelt = sum(token in set(tokenizer.byte_ids) for token in ids)
    assert figures["byte_token_share"] == spelt / len(ids)
    fallen = sum(
        tokenizer._processor.piece_to_id(char) == tokenizer.unk_id
        for t in TEXTS
        for char in t.replace(" ", "\u2581")
    )
    assert figures["byte_fallback_share"] == fallen / sum(map(len, TEXTS))
    assert figures["unknown_share"] == 0


def test_a_smaller_bpe_vocabulary_is_the_one_that_training_gives() -> None:
    """Cutting merges off the end gives the pieces of a smaller training."""
    cut = fertility.smaller(sentencepiece_model.parse(trained("bpe", 480)), 400)
    anew = sentencepiece_model.parse(trained("bpe", 400))
    assert cut is not None
    assert [piece.text for piece in cut.pieces] == [piece.text for piece in anew.pieces]


def test_a_smaller_unigram_vocabulary_keeps_characters_and_the_likeliest_pieces() -> None:
    """Everything that spells any text stays; of the rest the best scores."""
    model = sentencepiece_model.parse(trained("unigram", 480))
    cut = fertility.smaller(model, 400)
    assert cut is not None
    assert len(cut.pieces) == 400
    gone = set(model.pieces) - set(cut.pieces)
    assert all(len(piece.text) > 1 and piece.kind == sentencepiece_model.NORMAL for piece in gone)
    learnt = [p for p in cut.pieces if len(p.text) > 1 and p.kind == sentencepiece_model.NORMAL]
    assert max(piece.score for piece in gone) <= min(piece.score for piece in learnt)
    assert fertility.fertility(cut, TEXTS)["tokens"] > fertility.fertility(model, TEXTS)["tokens"]
    assert fertility.smaller(model, 200) is None


def test_pieces_are_shown_readably() -> None:
    """Spaces, line ends and invisible characters of pieces can be seen."""
    assert fertility.spelling("\u2581a\n\t\u200b") == "\u2423a\u23ce\u21e5\\u200b"
