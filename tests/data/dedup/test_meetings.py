"""Who meets whom equals looking at every bucket."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import meetings


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=60), st.integers(0, 31))
def test_meetings_connect_every_bucket(entries: list[tuple[int, int]], earlier: int) -> None:
    """Pairs join members of a bucket, one of them of this corpus; all of a bucket meet its first, and its neighbours."""
    entries = list(dict.fromkeys(entries))
    keys = np.array([key for key, _ in entries], np.uint64)
    documents = np.array([document for _, document in entries], np.int64)
    found = meetings.meetings(keys, documents, earlier)
    firsts, neighbours = ([tuple(p) for p in meetings.split(part).tolist()] for part in found)
    shuffled = np.random.default_rng(0).permutation(len(entries))
    again = meetings.meetings(keys[shuffled], documents[shuffled], earlier)
    assert [part.tolist() for part in found] == [part.tolist() for part in again]
    buckets = [sorted({d for k, d in entries if k == key}) for key in range(5)]
    expected = {(b[0], other) for b in buckets for other in b[1:] if other >= earlier}
    assert firsts == sorted(expected)
    near = {
        (b[i], b[j])
        for b in buckets
        for j in range(len(b))
        for i in range(max(j - 8, 0), j)
        if b[j] >= earlier
    }
    assert neighbours == sorted(near - expected)
