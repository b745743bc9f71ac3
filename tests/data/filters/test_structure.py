"""Words and lines are those of Python's strings, whatever the script and the kind of white space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.data.filters import characters
from millrace.data.filters.batch import TextBatch, from_texts
from millrace.data.filters.structure import structure_of, word_hash

TEXTS = st.text(
    st.sampled_from("ab.#{jé中🙂…\n\n\r\t  \x0b\x0c\x1c\x1e\x1f\x85\xa0\u2028\u2003\u3000"), max_size=30
)


@settings(deadline=None)  # the first call compiles
@given(st.lists(TEXTS | st.text(max_size=20), max_size=4))
def test_words_lines_and_breaks_are_those_of_strings(texts: list[str]) -> None:
    found = structure_of(from_texts(texts))
    for row, text in enumerate(texts):
        raw = text.encode()
        words = slice(*found.first_words[row : row + 2])
        spans = zip(found.word_starts[words], found.word_ends[words], strict=True)
        assert [raw[start:end].decode() for start, end in spans] == text.split()
        assert found.word_characters[words].tolist() == [len(word) for word in text.split()]
        assert found.word_hashes[words].tolist() == [word_hash(word) for word in text.split()]
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


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab \t\u3000"), max_size=4), max_size=8))
def test_lines_have_equal_hashes_where_they_are_equal(lines: list[str]) -> None:
    hashes = structure_of(from_texts(["\n".join(lines)])).line_hashes if lines else np.zeros(0)
    for one, first in enumerate(lines):
        for other, second in enumerate(lines):
            assert (hashes[one] == hashes[other]) == (first == second)


def test_outer_hashes_leave_white_space_out() -> None:
    stripped, padded = (
        structure_of(from_texts(["ab c\nx\nde"])),
        structure_of(from_texts(["\n \tab c\nx\nde \n\n"])),
    )
    assert padded.outer_hashes.tolist() == [[stripped.line_hashes[0], stripped.line_hashes[2]]]


def test_a_part_of_a_batch_has_the_structure_of_its_texts() -> None:
    batch = from_texts(["one two", "three\nfour", "five"])
    part = structure_of(TextBatch(batch.data, batch.offsets[1:3]))
    assert part.word_hashes.tolist() == [word_hash("three"), word_hash("four")]


@settings(deadline=None)
@given(st.characters(exclude_categories=["Cs"]))
def test_characters_are_what_strings_say(character: str) -> None:
    tables = characters.character_tables()
    point = ord(character)
    if point >= characters.CODE_POINTS:
        assert not character.isspace()
        return
    kind = tables.of_byte[point] if point < 0x80 else tables.of_code_point[point]
    assert bool(kind & characters.ALPHABETIC) == character.isalpha()
    assert bool(kind & characters.SPACE) == character.isspace()
    assert bool(kind & characters.LINE_BREAK) == (len(f"a{character}b".splitlines()) == 2)


def test_no_letter_lies_above_the_table() -> None:
    assert not any(chr(point).isalpha() for point in range(characters.CODE_POINTS, 0x110000))


def test_a_word_with_white_space_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one word"):
        word_hash("a b")
