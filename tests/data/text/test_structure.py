"""Words and lines are those of Python's strings, whatever the script and the kind of white space."""

from __future__ import annotations

import pytest

from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.structure import structure_of, word_hash

# Blocks of 64 bytes: words and white space across their borders, words of several, texts that end at one or near it.


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


def test_a_word_with_white_space_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one word"):
        word_hash("a b")
