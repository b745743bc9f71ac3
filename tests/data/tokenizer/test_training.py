"""Training cuts text without losing any, and gives the same bytes each time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training


@settings(deadline=None)
@given(
    text=st.text(st.sampled_from("ab\n é日😀\r"), max_size=300),
    limit=st.integers(4, 40),
)
def test_sentences_hold_all_the_text(text: str, limit: int) -> None:
    """Cut pieces are short enough and join to the text they came from."""
    pieces = list(training.sentences([text], limit))
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= limit for piece in pieces)


def test_sentences_split_around_what_sentencepiece_would_skip() -> None:
    """NUL and SentencePiece's own marks are cut out instead of costing their whole sentence."""
    assert list(training.sentences(["a\0b\u2581c\u2585d"])) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_training_is_repeatable(algorithm: str) -> None:
    """The same text gives the same model bytes."""
    texts = [f"def function_{i}(x):\n    return x + {i}\n" for i in range(300)]
    models = [
        training.train(
            texts, vocab_size=320, algorithm=algorithm, special=["<|end|>"], character_coverage=1.0
        )
        for _ in range(2)
    ]
    assert models[0] == models[1]


def test_a_vocabulary_too_small_for_its_characters_is_an_error() -> None:
    """A vocabulary that cannot hold the text's characters is refused with both numbers."""
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 500)))]
    with pytest.raises(training.VocabularyError, match="300"):
        training.train(texts, vocab_size=300, algorithm="bpe", special=["<|end|>"], character_coverage=1.0)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_spaces_survive_a_vocabulary_that_never_saw_one(algorithm: str) -> None:
    """A corpus without spaces, such as Chinese, still gives a piece for the space."""
    model = training.train(
        ["我们在这里学习中文。这是文章。"] * 50,
        vocab_size=320,
        algorithm=algorithm,
        special=tokenizers.CHAT_TOKENS,
        character_coverage=1.0,
    )
    tokenizer = tokenizers.Tokenizer(model, tokenizers.CHAT_TOKENS)
    assert tokenizer.decode(tokenizer.encode(" a  我们 ")) == " a  我们 "
