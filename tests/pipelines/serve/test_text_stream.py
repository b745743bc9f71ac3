"""Streaming text: whole characters, no partial stop strings, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.serve.text_stream import IncrementalDecoder, StopScanner, TextStream


def decode_bytes(ids: Sequence[int]) -> str:
    """A tokenizer whose ids are bytes, decoded as SentencePiece does: a bad byte becomes one U+FFFD."""
    text, data = "", bytes(ids)
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
    decoder = IncrementalDecoder(decode_bytes, list(context.encode()))
    pieces = [decoder.push(byte) for byte in text.encode()]
    assert "".join(pieces) + decoder.flush() == text
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)


@given(st.binary(max_size=40))
def test_undecodable_bytes_are_flushed_and_never_taken_back(data: bytes) -> None:
    """Any byte sequence gives the same text in pieces as at once."""
    decoder = IncrementalDecoder(decode_bytes)
    assert "".join(decoder.push(byte) for byte in data) + decoder.flush() == decode_bytes(data)


def test_leading_space_between_prompt_and_answer_is_kept() -> None:
    """A decoder that drops the first piece's space must not drop the one between prompt and answer."""
    words = [" the", " quick", " fox"]

    def decode(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids).removeprefix(" ")

    decoder = IncrementalDecoder(decode, [0])
    assert [decoder.push(1), decoder.push(2)] == [" quick", " fox"]


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


def test_a_stop_string_completed_by_the_last_flushed_bytes_still_stops() -> None:
    """A replacement character in a stop string is only certain at the end."""
    stream = TextStream(decode_bytes, ["\ufffd"])
    assert stream.push(ord("a")) == ("a", False)
    assert stream.push(0xE2) == ("", False)
    assert stream.flush() == ("", True)
