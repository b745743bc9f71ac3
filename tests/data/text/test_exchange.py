"""Exchanging characters by table equals exchanging them one by one in Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.exchange import CharacterMap, beyond_ascii

CHARACTERS = st.characters(exclude_categories=["Cs"])
# Runs of ASCII around the 64 bytes that are looked at together, and what interrupts them.
RUNS = st.tuples(st.integers(0, 140).map("a".__mul__), st.text(CHARACTERS, max_size=2)).map("".join)
TEXTS = st.lists(st.text(CHARACTERS, max_size=20) | st.lists(RUNS, max_size=3).map("".join), max_size=6)


def becomes(character: str) -> str:
    """Nothing, one, two or three characters."""
    return character.lower() * (ord(character) % 4)


def texts_of(batch: TextBatch) -> list[str]:
    parts = zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
    return [batch.data[first:end].tobytes().decode() for first, end in parts]


@given(TEXTS)
def test_a_batch_equals_its_texts_exchanged_in_python(texts: list[str]) -> None:
    """Whatever the characters, and whatever was met before."""
    batch = from_texts(texts)
    expected = ["".join(c if c.isascii() else becomes(c) for c in text) for text in texts]
    assert texts_of(CharacterMap(becomes)(batch)) == expected
    wanted = np.zeros(0x110000, np.bool_)
    wanted[1::2] = True
    found = beyond_ascii(batch, wanted)
    assert found.is_beyond.tolist() == [not text.isascii() for text in texts]
    assert found.is_wanted.tolist() == [any(c > "\x7f" and ord(c) % 2 for c in text) for text in texts]
    assert set(np.flatnonzero(found.blocks)) == {ord(c) >> 8 for text in texts for c in text if c > "\x7f"}


def test_threads_share_a_map() -> None:
    """Many threads that meet new blocks at once all get the right texts."""
    shared = CharacterMap(becomes)
    texts = [chr(point) * 3 for point in range(0x100, 0x8000, 97)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: texts_of(shared(from_texts([text])))[0], texts))
    assert found == [becomes(text[0]) * 3 for text in texts]


def test_bytes_that_are_no_utf_8_do_no_harm() -> None:
    """Cut off, stray and impossible bytes lead nowhere outside the tables."""
    data = np.random.default_rng(0).integers(128, 256, 4000).astype(np.uint8)
    batch = TextBatch(data, np.arange(0, 4001, 5))
    assert len(CharacterMap(becomes)(batch)) == 800
