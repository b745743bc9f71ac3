"""Looking words up changes no id: whatever collides, fills up, is cut into slices or is shared by threads."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.tokenizer import encoder_kernels, encoder_words, training, word_encoder
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer.encoder_tables import encoder_tables
from millrace.data.tokenizer.sentencepiece_model import parse
from millrace.data.tokenizer.word_encoder import WordEncoder

CODE = Path(str(word_encoder.__file__)).read_text(encoding="utf-8")
PROSE = "Der Bär lief über die Straße. 我们在这里。Привет, мир! नमस्ते दुनिया\r\n\t\tx = 1234;  y\n" * 30


class Encoders(NamedTuple):
    """A vocabulary as SentencePiece reads it, and makers of ours."""

    tokenizer: tokenizers.Tokenizer
    folder: Path

    @classmethod
    def of(cls, model: bytes, folder: Path) -> Encoders:
        tokenizers.write(folder, model, tokenizers.CHAT_TOKENS, {})
        return cls(tokenizers.Tokenizer.load(folder), folder)

    def new(self, slots: int = 64) -> WordEncoder:
        tables = encoder_tables(parse((self.folder / tokenizers.MODEL_FILE).read_bytes()))
        assert tables is not None
        return WordEncoder(tables, self.tokenizer.eos_id, np.dtype(np.uint16), slots)

    def expect_same(self, encoder: WordEncoder, texts: list[str], batch: TextBatch | None = None) -> None:
        """Compares with SentencePiece."""
        ids, lengths = encoder.encode(from_texts(texts) if batch is None else batch)
        expected = [[*own, self.tokenizer.eos_id] for own in self.tokenizer.encode_batch(texts)]
        assert lengths.tolist() == [len(own) for own in expected]
        assert ids.tolist() == [token for own in expected for token in own]


@pytest.fixture(scope="module", params=("unigram", "bpe"))
def encoders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    model = training.train(
        [CODE, PROSE],
        vocab_size=600,
        algorithm=request.param,
        special=tokenizers.CHAT_TOKENS,
        character_coverage=1.0,
    )
    return Encoders.of(model, tmp_path_factory.mktemp("vocabulary"))


ALIKE = st.one_of(
    st.text("ab\0", min_size=1, max_size=70),  # equal first bytes, zeros at the end
    st.builds(lambda size, last: "x" * size + last, st.integers(0, 70), st.sampled_from("xyz\0é")),
    st.builds(lambda size: "等" * size, st.integers(1, 25)),
    st.sampled_from(["\u2581", "\u2581\u2581a", "\U0001f600", "self", "class ", "\t\t"]),
)


@settings(max_examples=150, deadline=None)
@given(words=st.lists(ALIKE, max_size=60), glue=st.sampled_from(["", " ", "\n", ", ", "。"]))
def test_words_that_look_alike_are_told_apart(encoders: Encoders, words: list[str], glue: str) -> None:
    """Words of all lengths around 8, 16 and 64 bytes that share bytes and slots keep their own tokens."""
    encoder = encoders.new()
    for _ in range(2):
        encoders.expect_same(encoder, [glue.join(words), *words[:5], glue.join(words[::-1])])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), slice_bytes=st.integers(1, 90))
def test_slices_do_not_show(encoders: Encoders, data: st.DataObject, slice_bytes: int) -> None:
    """Long texts are cut into slices, short ones joined, at any size of a slice."""
    text = CODE[:3000] + PROSE[:600] + "ab" * 90 + "\u2581" + "在" * 40
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    texts = [text[first:last] for first, last in pairwise([0, *cuts, len(text)])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_encoder, "SLICE_BYTES", slice_bytes)
        encoders.expect_same(encoders.new(4096), texts)


def test_sums_go_on_over_slices(encoders: Encoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text whose sum of scores is begun anew several times gives the same in slices."""
    monkeypatch.setattr(word_encoder, "SLICE_BYTES", 1000)
    text = (CODE + PROSE) * 20
    encoders.expect_same(encoders.new(4096), [text, "a", text[7:]])


def test_texts_may_fill_their_memory(encoders: Encoders) -> None:
    """Texts may end where their memory ends, and begin behind its start."""
    texts = ["self.", "x", "", "return words"]
    data = "".join(texts).encode()
    offsets = np.cumsum([0, *(len(text) for text in texts)])
    for before in (b"", b"abc"):
        batch = TextBatch(np.frombuffer(before + data, np.uint8), offsets + len(before))
        batch.offsets.flags.writeable = False
        encoders.expect_same(encoders.new(), texts, batch)


@pytest.mark.parametrize("slots", [64, 1024, 2**16])
def test_threads_that_share_words_get_the_same_ids(encoders: Encoders, slots: int) -> None:
    """Four threads learn the same words at the same time, in a table that fills up over and over or never."""
    lines = (CODE + PROSE).splitlines(keepends=True)
    batches = [from_texts(lines[turn:] + lines[:turn]) for turn in range(0, len(lines), 9)]
    expected = [encoders.new(2**12).encode(batch) for batch in batches]
    for _ in range(3):
        encoder = encoders.new(slots)
        with ThreadPoolExecutor(4) as pool:
            for own, found in zip(expected, pool.map(encoder.encode, batches), strict=True):
                assert own[0].tolist() == found[0].tolist()
                assert own[1].tolist() == found[1].tolist()


def test_protected_characters_are_pieces_of_their_own(tmp_path: Path) -> None:
    """Single characters that the user defined never join others."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((CODE + PROSE).split("\n")),
        model_writer=model,
        vocab_size=500,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        control_symbols=list(tokenizers.CHAT_TOKENS),
        user_defined_symbols=["\t", "0", "等"],
        pad_id=3,
        minloglevel=2,
    )
    encoders = Encoders.of(model.getvalue(), tmp_path)
    encoder = encoders.new(4096)
    for _ in range(2):
        encoders.expect_same(encoder, [CODE, PROSE, "\t\t0 10等等a", "等" * 30])


def test_both_sides_of_the_table_agree() -> None:
    """Kernels read no constants of other files, so these stand twice."""
    for name in ("KEY_BYTES", "LONGEST_WORD", "COUNT"):
        assert getattr(encoder_kernels, name) == getattr(encoder_words, name)
