"""Order and numbers against NumPy and counting."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination import ordering


def test_sorting_is_stable() -> None:
    """Equal hashes stay in their order, whatever buckets they share."""
    draw = random.Random(0)
    hashes = np.array(
        [draw.choice([1, 2, 2**63, 2**64 - 1, draw.getrandbits(64)]) for _ in range(500)], np.uint64
    )
    assert ordering.sort(hashes).tolist() == np.argsort(hashes, kind="stable").tolist()
    assert ordering.sort(hashes[:0]).tolist() == []


def test_rows_are_sorted_like_hashes() -> None:
    """Columns come out in the stable order of the hashes, negative small numbers too."""
    draw = random.Random(1)
    hashes = np.array([draw.choice([1, 2, 2**63, draw.getrandbits(64)]) for _ in range(400)], np.uint64)
    small = np.array([[draw.randrange(-1, 32_000) for _ in range(3)] for _ in hashes], np.int16)
    packed = (small.astype(np.int64) & 0xFFFF) << np.array([0, 16, 32])
    rows = np.stack([hashes, np.arange(400, dtype=np.uint64), packed.sum(1).astype(np.uint64)], axis=1)
    order = np.argsort(hashes, kind="stable")
    found = ordering.sort_rows(rows)
    assert found[0].tolist() == hashes[order].tolist()
    assert found[1].tolist() == order.tolist()
    assert found[2].tolist() == small[order].tolist()


@given(st.lists(st.lists(st.sampled_from([7, 2**40, 2**63 + 1, 2**64 - 1]), max_size=6), max_size=5))
def test_words_are_numbered_as_they_come(examples: list[list[int]]) -> None:
    """Numbers lead back to hashes; repeats count within an example, examples each word once."""
    flat = np.array([word for example in examples for word in example], np.uint64)
    found = ordering.number(flat, np.cumsum([0, *map(len, examples)]))
    assert found.hashes[found.numbers].tolist() == flat.tolist()
    assert found.hashes.tolist() == list(dict.fromkeys(flat.tolist()))
    assert found.repeats.tolist() == [
        example[:at].count(word) for example in examples for at, word in enumerate(example)
    ]
    having = Counter(word for example in examples for word in set(example))
    assert found.examples.tolist() == [having[word] for word in found.hashes.tolist()]
