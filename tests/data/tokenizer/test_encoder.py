"""Encoding by words gives SentencePiece's ids, to the last one, for any text and vocabulary."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.tokenizer import encoder as corpus_encoder
from millrace.data.tokenizer import encoder_kernels, sentencepiece_model, training
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.training import streams as token_stream

SOURCES = (tokenizers, training, corpus_encoder, encoder_kernels, sentencepiece_model, token_stream)
CODE = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in SOURCES)
PROSE = "Der Bär lief über die Straße. 我们在这里。Привет, мир! नमस्ते दुनिया\r\n\t\tx = 1234;  y\n" * 30
SPECIAL = (*tokenizers.CHAT_TOKENS, *tokenizers.reserved_tokens(2))
ALGORITHMS = ("unigram", "bpe")


def write(folder: Path, algorithm: str, vocab_size: int = 700) -> Path:
    folder.mkdir(parents=True)
    model = training.train(
        [CODE, PROSE], vocab_size=vocab_size, algorithm=algorithm, special=SPECIAL, character_coverage=0.999
    )
    tokenizers.write(folder, model, SPECIAL, {})
    return folder


@pytest.fixture(scope="module", params=ALGORITHMS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("encoder") / "tokenizer", request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> corpus_encoder.CorpusEncoder:
    return corpus_encoder.CorpusEncoder(folder)


def expect_same(encoder: corpus_encoder.CorpusEncoder, texts: list[str]) -> None:
    """Compares with SentencePiece, text by text."""
    ids, lengths = encoder.encode(pa.array(texts, pa.large_string()))
    expected = [[*own, encoder.tokenizer.eos_id] for own in encoder.tokenizer.encode_batch(texts)]
    assert lengths.tolist() == [len(own) for own in expected]
    assert ids.tolist() == [token for own in expected for token in own]


AWKWARD = st.sampled_from(
    [
        *SPECIAL,
        "<s>",
        "<0x0A>",
        "\u2581",
        "\u2585",
        "\0",
        "\t",
        "\r\n",
        "\n\n",
        " ",
        "   ",
        "\u00a0",
        "\u3000",
        "\ufffd",
        "\U0010ffff",
        "e\u0301",
        "x" * 70,
        "=" * 300,
        "ab" * 40,
        "在" * 30,
        "self.",
        " def",
        "1",
        "é",
    ]
)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), AWKWARD), max_size=8))
def test_any_text_has_sentencepieces_ids(encoder: corpus_encoder.CorpusEncoder, texts: list[str]) -> None:
    """Arbitrary characters, alone and side by side, give what SentencePiece gives."""
    expect_same(encoder, [*texts, "".join(texts), " ".join(texts)])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_cuttings_of_real_text_have_sentencepieces_ids(
    encoder: corpus_encoder.CorpusEncoder, data: st.DataObject
) -> None:
    """Any part of real text, glued to any other, gives what SentencePiece gives."""
    text = CODE + PROSE
    cut = st.tuples(st.integers(0, len(text)), st.integers(0, 200))
    parts = [text[start : start + size] for start, size in data.draw(st.lists(cut, max_size=6))]
    expect_same(encoder, ["".join(parts)])


def test_sums_of_long_texts_round_as_sentencepieces(encoder: corpus_encoder.CorpusEncoder) -> None:
    """Megabytes in one text, over which float32 sums lose precision and are begun anew, make no difference."""
    expect_same(
        encoder, [(CODE + PROSE) * 6, "ab" * 90_000, "\U0001f600 " * 9_000, "等" * 20_000, "\t" * 9_000]
    )


def rescored(model: bytes, score: Callable[[int, str], float]) -> bytes:
    """A model with other scores for its learnt pieces."""

    def field(number: int, value: bytes) -> bytes:
        size = len(value)
        head = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        return bytes([number << 3 | 2]) + head + value

    made = b""
    index = 0
    for number, value in sentencepiece_model._fields(model):
        if number == 1:
            piece = sentencepiece_model.parse(field(1, value)).pieces[0]
            if piece.kind == sentencepiece_model.NORMAL:
                changed = struct.pack("<f", score(index, piece.text))
                value = field(1, piece.text.encode()) + b"\x15" + changed
            index += 1
        made += field(number, value)
    return made


def test_words_that_depend_on_what_stands_before(tmp_path: Path) -> None:
    """Where ways to cut a word nearly tie, SentencePiece's choice changes along a text; the encoder's does alike."""
    model = training.train(
        [CODE, PROSE], vocab_size=900, algorithm="unigram", special=SPECIAL, character_coverage=0.999
    )
    # Any two ways with as many pieces score alike, up to some thousandths.
    nearly_equal = rescored(model, lambda index, text: -5 - len(text) - (index * 7919 % 1009) * 2e-6)
    tokenizers.write(tmp_path, nearly_equal, SPECIAL, {})
    encoder = corpus_encoder.CorpusEncoder(tmp_path)
    lines = sorted(set(CODE.split("\n")))
    together = encoder.tokenizer.encode("\n".join(lines))
    assert together != [
        t for line in encoder.tokenizer.encode_batch([f"{line}\n" for line in lines]) for t in line
    ]
    expect_same(encoder, [CODE * 6, "\n".join(lines), *lines])


def test_a_full_table_of_words_begins_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that the table dropped are encoded again."""
    monkeypatch.setattr(corpus_encoder, "WORD_SLOTS", 64)
    encoder = corpus_encoder.CorpusEncoder(folder)
    for _ in range(2):
        expect_same(encoder, [CODE[:20_000], PROSE])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_large_vocabulary_needs_wider_ids(tmp_path: Path, algorithm: str) -> None:
    """Ids over 65,535 come out whole."""
    special = [*SPECIAL, *(f"<|x{index}|>" for index in range(66_000))]
    model = training.train(
        [CODE], vocab_size=67_000, algorithm=algorithm, special=special, character_coverage=1.0
    )
    tokenizers.write(tmp_path, model, SPECIAL, {})
    encoder = corpus_encoder.CorpusEncoder(tmp_path)
    assert encoder.is_compiled
    ids, _ = encoder.encode(pa.array([CODE]))
    assert ids.dtype == np.uint32
    assert ids.max() > 66_000
    expect_same(encoder, [CODE, PROSE])


@pytest.mark.parametrize(
    "option",
    [
        {"add_dummy_prefix": True},
        {"normalization_rule_name": "nmt_nfkc"},
        {"remove_extra_whitespaces": True},
        {"user_defined_symbols": ["<image>"]},
    ],
    ids=str,
)
def test_other_vocabularies_are_left_to_sentencepiece(tmp_path: Path, option: dict) -> None:
    """A model that changes text or protects symbols is encoded by SentencePiece itself."""
    model = io.BytesIO()
    settings_ = {
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "user_defined_symbols": ["\t"],
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CODE.split("\n")),
        model_writer=model,
        vocab_size=500,
        hard_vocab_limit=False,
        byte_fallback=True,
        control_symbols=list(SPECIAL),
        pad_id=3,
        minloglevel=2,
        **{**settings_, **option},
    )
    tokenizers.write(tmp_path, model.getvalue(), SPECIAL, {})
    encoder = corpus_encoder.CorpusEncoder(tmp_path)
    assert not encoder.is_compiled
    expect_same(encoder, ["a <image>  ﬁ b", "", CODE[:3_000]])


def test_a_vocabulary_without_whitespace_limits_is_encoded_too(tmp_path: Path) -> None:
    """Where pieces hold whole phrases, words are longer, and the ids still the same."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CODE.split("\n")),
        model_writer=model,
        vocab_size=900,
        hard_vocab_limit=False,
        byte_fallback=True,
        split_by_whitespace=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        control_symbols=list(SPECIAL),
        pad_id=3,
        minloglevel=2,
    )
    tokenizers.write(tmp_path, model.getvalue(), SPECIAL, {})
    encoder = corpus_encoder.CorpusEncoder(tmp_path)
    assert encoder.is_compiled
    assert any(
        " " in piece.text[1:].replace("\u2581", " ")
        for piece in sentencepiece_model.parse(model.getvalue()).pieces
    )
    expect_same(encoder, [CODE, PROSE, "\tdef f(self):\treturn\t"])


def test_no_texts_are_no_tokens(encoder: corpus_encoder.CorpusEncoder) -> None:
    """An empty column is fine, and an empty text is its boundary."""
    assert [part.size for part in encoder.encode(pa.array([], pa.string()))] == [0, 0]
    expect_same(encoder, ["", "", "a"])
