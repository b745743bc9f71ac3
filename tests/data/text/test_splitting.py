"""Words, lines and breaks are those of strings, wherever texts and blocks begin and end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.text import characters
from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.structure import structure_of, word_hash
from millrace.data.text.words_and_lines import Structure

TEXTS = st.text(
    st.sampled_from("ab.#{jé中🙂…\n\n\r\t  \x0b\x0c\x1c\x1e\x1f\x85\xa0\u2028\u2003\u3000"), max_size=30
)


SIZES = st.sampled_from([1, 7, 8, 9, 15, 16, 17, 55, 56, 57, 61, 62, 63, 64, 65, 66, 127, 128, 129, 191])


RUNS = st.tuples(
    st.sampled_from(
        [
            "a",
            "B",
            "9",
            ".",
            "#",
            "é",
            "中",
            "🙂",
            " ",
            "\n",
            "\t",
            "\x1f",
            "\x85",
            "\xa0",
            "\u2003",
            "\u3000",
        ]
    ),
    SIZES,
).map(lambda pair: pair[0] * max(pair[1] // len(pair[0].encode()), 1))


BLOCKS = st.lists(RUNS | TEXTS, max_size=6).map("".join)


def assert_is_structure(found: Structure, texts: list[str]) -> None:
    tables = characters.character_tables()
    for row, text in enumerate(texts):
        raw = text.encode()
        words = slice(*found.first_words[row : row + 2])
        spans = zip(found.word_starts[words], found.word_ends[words], strict=True)
        assert [raw[start:end].decode() for start, end in spans] == text.split()
        assert found.word_characters[words].tolist() == [len(word) for word in text.split()]
        assert found.word_hashes[words].tolist() == [word_hash(word) for word in text.split()]
        kinds = [np.bitwise_or.reduce([kind_of(tables, c) for c in word]) & 255 for word in text.split()]
        assert found.word_kinds[words].tolist() == kinds
        assert found.characters[row] == len(text)
        lines = slice(*found.first_lines[row : row + 2])
        spans = zip(found.line_starts[lines], found.line_ends[lines], strict=True)
        assert [raw[start:end].decode() for start, end in spans] == text.split("\n")
        assert found.line_characters[lines].tolist() == [len(line) for line in text.split("\n")]
        assert found.line_words[lines].tolist() == [len(line.split()) for line in text.split("\n")]
        breaks = slice(*found.first_breaks[row : row + 2])
        spans = zip(found.break_starts[breaks], found.break_ends[breaks], strict=True)
        assert [raw[start:end].decode() for start, end in spans] == text.splitlines()
        counts = np.diff(np.append(found.break_words[breaks], len(text.split())))
        assert counts.tolist() == [len(line.split()) for line in text.splitlines()]


def kind_of(tables: characters.CharacterTables, character: str) -> int:
    point = ord(character)
    if point >= characters.CODE_POINTS:
        return characters.NOT_PUNCTUATION
    return int(tables.of_byte[point] if point < 0x80 else tables.of_code_point[point])


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXTS | st.text(max_size=20), max_size=4))
def test_words_lines_and_breaks_are_those_of_strings(texts: list[str]) -> None:
    assert_is_structure(structure_of(from_texts(texts)), texts)


@settings(deadline=None)
@given(st.lists(BLOCKS, max_size=4))
def test_words_and_white_space_may_lie_across_blocks(texts: list[str]) -> None:
    assert_is_structure(structure_of(from_texts(texts)), texts)


@pytest.mark.parametrize("size", [1, 62, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize(
    "filling", ["a", "a ", "ab.", "é", "\u3000", "a\u3000", "\u2028b", "\r\n", " \t", "#1 "]
)
def test_texts_may_end_at_the_border_of_a_block(size: int, filling: str) -> None:
    for padding in range(4):
        text = "x" * padding + filling * (size // len(filling.encode()))
        text += "y" * (size - len(text.encode()))
        for texts in ([text], [text, text], [text, "z" * 64], ["z" * 64, text, ""]):
            assert_is_structure(structure_of(from_texts(texts)), texts)


@settings(deadline=None)
@given(st.lists(BLOCKS, min_size=2, max_size=4), st.booleans())
def test_a_part_is_like_the_whole_wherever_its_data_begin_and_end(
    texts: list[str], is_writable: bool
) -> None:
    batch = from_texts(["start", *texts, "end"])
    data, offsets = (np.array(array) for array in (batch.data, batch.offsets[1:-1]))
    if is_writable:
        batch = TextBatch(data, offsets)
    else:
        batch = TextBatch(batch.data[: offsets[-1]], batch.offsets[1:-1])
    assert_is_structure(structure_of(batch), texts)


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=3))
def test_bytes_that_are_no_text_are_read_within_their_bounds(raw: bytes, cuts: list[int]) -> None:
    offsets = np.array([0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)])
    found = structure_of(TextBatch(np.frombuffer(raw, np.uint8), offsets))
    assert (found.word_starts < found.word_ends).all()
    assert (found.word_ends <= np.repeat(np.diff(offsets), np.diff(found.first_words))).all()


@pytest.mark.parametrize("size", [7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 57, 64, 65, 200])
def test_words_that_differ_in_any_byte_have_other_hashes(size: int) -> None:
    words = ["a" * size, "a" * (size + 1), "a" * size + "\0"]
    words += ["a" * place + "b" + "a" * (size - place - 1) for place in range(size)]
    words += ["a" * (place - 1) + "bb" + "a" * (size - place - 1) for place in range(1, size)]
    assert len({int(word_hash(word)) for word in words}) == len(words)


def test_words_of_all_sizes_have_hashes_of_their_own() -> None:
    letters = [chr(97 + index) for index in range(26)]
    words = [
        one + two + three + "e" * size
        for one in letters
        for two in letters
        for three in letters
        for size in (0, 5, 13)
    ]
    hashes = structure_of(from_texts([" ".join(words)])).word_hashes
    assert len(np.unique(hashes)) == len(words)
    assert len(np.unique(hashes >> np.uint64(32))) > 0.99 * len(words)


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \t\u3000"), max_size=4), max_size=8))
def test_lines_have_equal_hashes_where_they_are_equal(lines: list[str]) -> None:
    hashes = structure_of(from_texts(["\n".join(lines)])).line_hashes if lines else np.zeros(0)
    for one, first in enumerate(lines):
        for other, second in enumerate(lines):
            assert (hashes[one] == hashes[other]) == (first == second)
