"""A text with a cut reads as if the span had never been there, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import cuts
from millrace.data.text.batch import TextBatch, from_texts

SPACE = b" \t\n\x0b\x0c\r"


def cut_words(texts: list[str], gone: list[set[int]]) -> tuple[cuts.Cuts, TextBatch, list[str]]:
    """The texts without some of their words, by number."""
    batch = from_texts(texts)
    rows, starts, ends = [], [], []
    for row, (text, own) in enumerate(zip(texts, gone, strict=True)):
        at = 0
        for number, word in enumerate(text.split()):
            at = text.index(word, at)
            if number in own:
                rows.append(row)
                starts.append(batch.offsets[row] + at)
                ends.append(batch.offsets[row] + at + len(word))
            at += len(word)
    found = cuts.cuts(batch, *(np.array(column, np.int64) for column in (rows, starts, ends)))
    after = cuts.without(batch, found)
    data = after.data.tobytes()
    left = [data[a:b].decode() for a, b in zip(after.offsets[:-1], after.offsets[1:], strict=True)]
    return found, batch, left


@pytest.mark.parametrize(
    ("text", "gone", "left"),
    [
        ("one X two", {1}, "one two"),
        ("one X X two", {1, 2}, "one two"),
        ("X one", {0}, "one"),
        ("one X", {1}, "one"),
        ("one X\n", {1}, "one\n"),
        ("X\n", {0}, ""),
        ("one\nX\ntwo\n", {1}, "one\ntwo\n"),
        ("one\n  X\n    two\n", {1}, "one\n    two\n"),
        ("X\n  one", {0}, "  one"),
        ("one\n\nX\n\ntwo", {1}, "one\n\ntwo"),
        ("one.\n\nX two", {1}, "one.\n\ntwo"),
        ("one. X\n\ntwo", {1}, "one.\n\ntwo"),
        ("one\n\nX\n  two", {1}, "one\n\n  two"),
        ("one\nX\n\n  two", {1}, "one\n\n  two"),
        ("one\n\n  X two", {1}, "one\n\n  two"),
    ],
)
def test_one_gap_stays_where_there_were_two(text: str, gone: set[int], left: str) -> None:
    """The gap with more line breaks stays, and the next line keeps its indentation."""
    assert cut_words([text], [gone])[2] == [left]


@given(
    st.lists(st.tuples(st.text("ab \n\t", max_size=30), st.sets(st.integers(0, 12))), min_size=1, max_size=4)
)
def test_cuts_take_the_words_and_white_space_beside_them_only(rows: list[tuple[str, set[int]]]) -> None:
    """The words that stay are the others, in order; cuts do not touch; outside them every byte stays."""
    texts = [text for text, _ in rows]
    found, batch, left = cut_words(texts, [gone for _, gone in rows])
    data = batch.data.tobytes()
    kept = [bytearray(text.encode()) for text in texts]
    for row, start, end in reversed(list(zip(found.rows, found.starts, found.ends, strict=True))):
        assert batch.offsets[row] <= start < end <= batch.offsets[row + 1]
        del kept[row][start - batch.offsets[row] : end - batch.offsets[row]]
    assert [text.decode() for text in kept] == left
    for (text, gone), after in zip(rows, left, strict=True):
        assert after.split() == [word for at, word in enumerate(text.split()) if at not in gone]
    between = zip(found.ends[:-1], found.starts[1:], found.rows[:-1], found.rows[1:], strict=True)
    assert all(data[end:start].strip(SPACE) for end, start, one, two in between if one == two)


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=12))
def test_runs_cover_what_windows_cover(size: int, windows: list[tuple[int, int]]) -> None:
    """Units that some window covers are in a run, no others are, and each run begins with its own window."""
    windows = sorted({place: min(skipped, size - 1) for place, skipped in windows}.items())
    places, skipped = (np.array([window[at] for window in windows], np.int64) for at in (0, 1))
    found = cuts.runs(places, skipped, size)
    covered = {unit for place, skip in windows for unit in range(place + skip, place + size)}
    runs = list(zip(found.firsts.tolist(), found.ends.tolist(), strict=True))
    assert sorted(unit for first, end in runs for unit in range(first, end)) == sorted(covered)
    assert [places[at] + skipped[at] for at in found.sources] == [first for first, _ in runs]
