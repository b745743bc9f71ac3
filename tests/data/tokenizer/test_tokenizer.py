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


def test_the_bytes_of_tokens_join_to_their_text_and_their_names_differ(
    tokenizer: tokenizers.Tokenizer,
) -> None:
    """Names are texts where these tell tokens apart; a byte has OpenAI's spelling and a control token its own."""
    ids = tokenizer.encode(TEXT + " \u2581 \U0001f30a\t\n")
    assert b"".join(tokenizer.token_bytes[token] for token in ids).decode() == tokenizer.decode(ids)
    assert len(set(tokenizer.token_names)) == tokenizer.vocab_size == len(tokenizer.token_bytes)
    assert tokenizer.token_names[tokenizer.byte_ids[0xF0]] == "bytes:\\xf0"
    for name, token in tokenizer.special.items():
        assert (tokenizer.token_names[token], tokenizer.token_bytes[token]) == (name, b"")
    word = tokenizer.encode("def encode")[-1]
    assert tokenizer.token_names[word] == tokenizer.token_bytes[word].decode() == tokenizer.decode([word])
    assert tokenizer.token_names[tokenizer.byte_ids[ord("e")]] == "bytes:\\x65"  # learnt too
    assert tokenizer.token_names[tokenizer.byte_ids[0]] == "\x00"


@given(text=st.text(max_size=5), last=st.characters(min_codepoint=0x2000, exclude_categories=["Cs"]))
def test_a_sequence_cut_inside_a_character_ends_before_it(
    tokenizer: tokenizers.Tokenizer, text: str, last: str
) -> None:
    """At every place of a character that is spelt in bytes; other bytes that are no character still show."""
    spelt = [tokenizer.byte_ids[byte] for byte in last.encode()]
    ids = tokenizer.encode(text)
    for size in range(len(spelt)):
        assert tokenizer.decode_cut([*ids, *spelt[:size]]) == text
    assert tokenizer.decode_cut([*ids, *spelt]) == text + last
    assert tokenizer.decode_cut([*ids, spelt[0], tokenizer.eos_id]) == text + "\ufffd"


def test_roles_that_the_vocabulary_has_no_token_for_speak_as_others() -> None:
    """A developer as the system, a tool as the user; with a control token of their name they speak for themselves."""
    for extra in ((), ("<|tool|>",)):
        special = (*SPECIAL, *extra)
        model = training.train(
            [TEXT], vocab_size=500, algorithm="bpe", special=special, character_coverage=1.0
        )
        tokenizer = tokenizers.Tokenizer(model, special)
        roles = ("developer", "tool", "assistant")
        ids, answer = tokenizer.render_chat([{"role": role, "content": ""} for role in roles])
        names = [tokenizer.token_names[token] for token in ids[1::2]]
        assert names == ["<|system|>", extra[0] if extra else "<|user|>", "<|assistant|>"]
        assert answer == [False] * 6 + [True]


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
    with pytest.raises(ValueError, match="bot"):
        tokenizer.render_chat([{"role": "bot", "content": ""}])


def test_a_written_tokenizer_loads(tokenizer: tokenizers.Tokenizer, tmp_path: Path) -> None:
    """The artifact's two files give the same tokenizer back."""
    written = tokenizers.write(tmp_path, tokenizer._processor.serialized_model_proto(), SPECIAL, {"x": 1})
    loaded = tokenizers.Tokenizer.load(tmp_path)
    assert loaded.special == written.special
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
