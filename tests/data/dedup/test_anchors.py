"""Words byte for byte, and anchors that miss no repeat."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import anchors as words
from millrace.data.text.batch import from_texts

ALONE = "\u0e00-\u0eff\u3040-\u30ff\u4e00-\u9fff\U00020000-\U0003ffff"
TOKEN = re.compile(f"[{ALONE}][\u0301\u0e31\u0e35\u0e48\u200d\u3099]*|[^ \t\n\x0b\x0c\r{ALONE}]+")


def split(texts: list[str]) -> words.Words:
    batch = from_texts(texts)
    return words.words(batch.data, batch.offsets[:-1], batch.offsets[1:])


@given(
    st.lists(
        st.text(st.sampled_from("aB.é中かไ🙂𠀀 \n\t\u00a0\u0301\u0e35\u0e48\u200b\u200d\u3099"), max_size=20),
        max_size=4,
    )
)
def test_words_equal_the_reference(texts: list[str]) -> None:
    """Words between white space, ideographs one by one; equal hashes for equal bytes only."""
    found = split(texts)
    data = "".join(texts).encode()
    expected = [TOKEN.findall(text) for text in texts]
    flat = [word for own in expected for word in own]
    assert np.diff(found.offsets).tolist() == [len(own) for own in expected]
    assert [data[a:b].decode() for a, b in zip(found.starts, found.ends, strict=True)] == flat
    assert len(set(found.hashes.tolist())) == len(set(flat))


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=30), min_size=1, max_size=5),
    st.integers(2, 9),
    st.integers(1, 3),
)
def test_every_window_that_occurs_too_often_has_an_anchor_that_does(
    texts: list[list[str]], size: int, most: int
) -> None:
    """Windows with frequent anchors hold all frequent windows, each with the hash of its words and in its place."""
    found = split([" ".join(text) for text in texts])
    anchors = words.anchors(found, size)
    counts = Counter(anchors.hashes.tolist())
    is_shared = np.array([counts[value] > most for value in anchors.hashes.tolist()], np.bool_)
    windows = words.windows(found, size, is_shared, anchors.offsets[:-1])
    got = dict(zip(windows.places.tolist(), windows.hashes.tolist(), strict=True))
    whole = {
        int(found.offsets[row]) + place: tuple(text[place : place + size])
        for row, text in enumerate(texts)
        for place in range(len(text) - size + 1)
    }
    frequent = Counter(whole.values())
    assert {place for place, window in whole.items() if frequent[window] > most} <= got.keys() <= whole.keys()
    assert len(set(got.values())) == len({whole[place] for place in got})


def test_anchors_are_few() -> None:
    """Of words that do not repeat one in w / 2 starts an anchor, w being half a window."""
    found = split([" ".join(f"word{number}" for number in range(20_000))])
    assert 20_000 / 16 < words.anchors(found, 50).hashes.size < 20_000 / 11


@given(
    st.lists(
        st.text(st.sampled_from("aé中ไ🙂𠀀 \n\u0301\u0e35\u200b\u200d"), max_size=12), min_size=1, max_size=4
    ),
    st.integers(1, 20),
)
def test_words_are_counted_up_to_a_limit(texts: list[str], most: int) -> None:
    """As many as the reference finds, or the limit."""
    counted = words.count_words(from_texts(texts), np.arange(len(texts)), most)
    assert counted.tolist() == [min(len(TOKEN.findall(text)), most) for text in texts]
