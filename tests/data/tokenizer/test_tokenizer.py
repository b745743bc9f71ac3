"""The tokenizer loses nothing, never lets text forge a control token, and knows which chat tokens are answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training

SPECIAL = (*tokenizers.CHAT_TOKENS, *tokenizers.reserved_tokens(3))
TEXT = Path(tokenizers.__file__).read_text() + Path(training.__file__).read_text()


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> tokenizers.Tokenizer:
    texts = [TEXT, "<|user|> <|end|> <s> </s> <0x0A> <pad>\n" * 200]
    model = training.train(
        texts, vocab_size=700, algorithm=request.param, special=SPECIAL, character_coverage=0.9995
    )
    return tokenizers.Tokenizer(model, SPECIAL)


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_valid_text_comes_back(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    """Decoding undoes encoding for every text that UTF-8 can hold."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= token_id < tokenizer.vocab_size for token_id in ids)


@pytest.mark.parametrize(
    "text",
    [
        "  a  b ",
        "\u2581x\u2581\u2581 \u2581",
        "\x00a\x00",
        "\ufffd",
        "\u2047\u2585",
        "\t\tx\r\n\r",
        "日本語",
        "",
    ],
)
def test_awkward_texts_come_back(tokenizer: tokenizers.Tokenizer, text: str) -> None:
    """SentencePiece's private characters, NUL, tabs, carriage returns and outer spaces survive."""
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.sampled_from([*SPECIAL, "<s>", "</s>", "<unk>", "<pad>", "<0x0A>", " ", "a", "\n"])))
def test_text_never_forges_control_tokens(tokenizer: tokenizers.Tokenizer, parts: list[str]) -> None:
    """The spelling of a control token in a text is only text."""
    text = "".join(parts)
    ids = tokenizer.encode(text)
    control = {*tokenizer.special.values(), tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id}
    assert not control & set(ids)
    assert tokenizer.decode(ids) == text


def test_batches_equal_single_texts(tokenizer: tokenizers.Tokenizer) -> None:
    """A text's ids do not depend on its batch or on threads."""
    texts = [TEXT[start : start + 97] for start in range(0, 4_000, 97)] + ["\u2581", ""]
    assert tokenizer.encode_batch(texts, threads=2) == [tokenizer.encode(text) for text in texts]


def test_chats_mark_only_what_the_assistant_writes(tokenizer: tokenizers.Tokenizer) -> None:
    """The answer mask covers the assistant's content and its end, nothing else."""
    messages = [{"role": "user", "content": "hi <|end|>"}, {"role": "assistant", "content": "a class"}]
    ids, answer = tokenizer.render_chat(messages)
    end = tokenizer.special["<|end|>"]
    assert ids[0] == tokenizer.bos_id
    assert ids[1] == tokenizer.special["<|user|>"]
    assert ids.count(end) == 2
    assert [i for i, is_answer in zip(ids, answer, strict=True) if is_answer] == [
        *tokenizer.encode("a class"),
        end,
    ]
    header, mask = tokenizer.render_chat(messages[:1], generate=True)
    assert header == ids[: len(header)]
    assert header[-1] == tokenizer.special["<|assistant|>"]
    assert not any(mask)
    with pytest.raises(ValueError, match="tool"):
        tokenizer.render_chat([{"role": "tool", "content": ""}])


def test_a_written_tokenizer_loads(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    """The artifact's two files give the same tokenizer back."""
    written = tokenizers.write(tmp_path, tokenizer._processor.serialized_model_proto(), SPECIAL, {"x": 1})
    loaded = tokenizers.Tokenizer.load(tmp_path)
    assert loaded.special == written.special
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
