"""Streaming text: whole characters, no partial stop strings, nothing lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.pipelines.serve.text_stream import IncrementalDecoder, StopScanner, TextStream

BYTES = [bytes([byte]) for byte in range(256)]
CONTROL = 256
VOCABULARY = [*BYTES, b""]  # and a control token


def decode_bytes(data: bytes) -> str:
    """A U+FFFD for each byte that belongs to no character, as SentencePiece decodes."""
    text = ""
    while data:
        for size in (1, 2, 3, 4):
            try:
                text, data = text + data[:size].decode(), data[size:]
                break
            except UnicodeDecodeError:
                if size == 4:
                    text, data = text + "\ufffd", data[1:]
    return text


@given(st.text(), st.text())
def test_pieces_join_to_the_text_and_hold_whole_characters(context: str, text: str) -> None:
    """Byte tokens come out as whole characters and nothing of the context is repeated."""
    decoder = IncrementalDecoder(BYTES, list(context.encode()))
    pieces = [decoder.push(byte) for byte in text.encode()]
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)


HARD_BYTES = st.sampled_from([0x41, 0x80, 0x9F, 0xA0, 0xC3, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xBF, 0xBD, 0xFF])


@given(st.lists(HARD_BYTES, max_size=12).map(bytes))
def test_bytes_that_are_no_character_are_given_out_and_never_taken_back(data: bytes) -> None:
    """All of the text, but for bytes at the end that could still become a character."""
    decoder = IncrementalDecoder(BYTES)
    given_out, text = "".join(decoder.push(byte) for byte in data), decode_bytes(data)
    assert text.startswith(given_out)
    assert text[len(given_out) :] in ("", "\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd")


@given(st.text(), st.characters(min_codepoint=128, exclude_categories=["Cs"]), st.integers(1, 3))
def test_a_character_that_is_not_finished_is_no_text(text: str, last: str, size: int) -> None:
    decoder = IncrementalDecoder(BYTES)
    data = text.encode() + last.encode()[: min(size, len(last.encode()) - 1)]
    assert "".join(decoder.push(byte) for byte in data) == text


@given(st.lists(HARD_BYTES | st.just(CONTROL), max_size=12))
def test_a_token_begins_where_the_text_before_it_ends(ids: list[int]) -> None:
    """Offsets grow with the text, and a token that begins a character or none stands at its offset in the text."""
    decoder, offsets = IncrementalDecoder(VOCABULARY), []
    text = ""
    for token in ids:
        text += decoder.push(token)
        offsets.append(decoder.offset)
    assert offsets == sorted(offsets)
    for token, offset in zip(ids, offsets, strict=True):
        if token == 0x41:
            assert text[offset] == "A"
        elif token == 0xFF:
            assert text[offset] == "\ufffd"


def test_a_character_that_the_prompt_begins_is_completed() -> None:
    decoder = IncrementalDecoder(BYTES, list("a\U0001f30a".encode()[:3]))
    assert [decoder.push(0x8C), decoder.push(0x8A)] == ["", "\U0001f30a"]


@pytest.mark.parametrize("seed", range(4))
def test_streamed_text_of_any_ids_is_what_the_tokenizer_decodes(package: Path, seed: int) -> None:
    """Against SentencePiece, but for a character that is unfinished at the end; with control tokens and all bytes."""
    tokenizer, draw = Tokenizer.load(package), random.Random(seed)
    for _ in range(300):
        ids = [
            draw.choice(tokenizer.byte_ids) if draw.random() < 0.5 else draw.randrange(tokenizer.vocab_size)
            for _ in range(draw.randrange(10))
        ]
        stream = TextStream(tokenizer.token_bytes)
        streamed = "".join(stream.push(token)[0] for token in ids) + stream.flush()
        decoded = tokenizer.decode(ids)
        rest = decoded.removeprefix(streamed)
        assert decoded.startswith(streamed)
        assert len(rest) < 4
        assert set(rest) <= {"\ufffd"}


def cut(text: str, sizes: list[int]) -> list[str]:
    """Cuts a text into pieces of the given sizes, the rest as one."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)


@given(st.text("abc", max_size=30), STOPS, st.lists(st.integers(0, 5), max_size=12))
def test_stop_strings_cut_at_the_first_completed_one_however_the_text_arrives(
    text: str, stops: list[str], sizes: list[int]
) -> None:
    """The brute force: grow the text character by character until it ends with a stop string."""
    wanted, stopped = text, False
    for end in range(len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            wanted, stopped = text[: end - max(map(len, hits))], True
            break
    scanner, shown, got_stop = StopScanner(stops), "", False
    for piece in cut(text, sizes):
        out, got_stop = scanner.push(piece)
        shown += out
        assert wanted.startswith(shown)
        if got_stop:
            break
    if not got_stop:
        shown += scanner.flush()
    assert (shown, got_stop) == (wanted, stopped)


def test_a_stop_string_that_was_not_completed_is_given_out_at_the_end() -> None:
    """And the character that the end leaves unfinished is not."""
    stream = TextStream(BYTES, ["b\U0001f30a"])
    assert [stream.push(byte) for byte in b"ab\xf0\x9f"] == [
        ("a", False),
        ("", False),
        ("", False),
        ("", False),
    ]
    assert stream.flush() == "b"
