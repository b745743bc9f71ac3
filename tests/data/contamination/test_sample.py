"""The sample depends on ids and seed alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination.sample import is_chosen
from millrace.data.text.batch import from_texts


@given(st.lists(st.text(max_size=8), max_size=20), st.integers(-(2**63), 2**63 - 1), st.floats(0.0, 1.0))
def test_a_document_is_chosen_whatever_stands_beside_it(ids: list[str], seed: int, share: float) -> None:
    """Each id alone gets the same answer; a larger share chooses no less, the whole everything."""
    together = is_chosen(from_texts(ids), share, seed)
    assert together.tolist() == [bool(is_chosen(from_texts([one]), share, seed)[0]) for one in ids]
    assert (is_chosen(from_texts(ids), min(share + 0.2, 1.0), seed) >= together).all()
    assert is_chosen(from_texts(ids), 1.0, seed).all()


def test_the_share_is_about_right() -> None:
    """Of 20,000 ids a tenth is chosen, another tenth by another seed."""
    ids = from_texts([f"{number:032x}" for number in range(20_000)])
    first, second = is_chosen(ids, 0.1, 0), is_chosen(ids, 0.1, 1)
    assert 1800 < first.sum() < 2200
    assert 100 < (first & second).sum() < 300
