"""A choice depends on the seed and the item alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents.choosing import is_chosen, keyed


@given(st.text(max_size=8), st.integers(-(2**63), 2**63 - 1), st.floats(0.0, 1.0))
def test_a_larger_share_chooses_no_less_and_the_whole_everything(item: str, seed: int, share: float) -> None:
    assert is_chosen(min(share + 0.2, 1.0), seed, item) or not is_chosen(share, seed, item)
    assert is_chosen(1.0, seed, item)
    assert not is_chosen(0.0, seed, item)


def test_the_share_is_about_right_and_seeds_are_independent() -> None:
    """Of 20,000 ids a tenth is chosen, and a tenth of those by another seed."""
    ids = [f"{number:032x}" for number in range(20_000)]
    first, second = ({one for one in ids if is_chosen(0.1, seed, one)} for seed in (0, 1))
    assert 1800 < len(first) < 2200
    assert 100 < len(first & second) < 300


def test_the_parts_count_one_by_one() -> None:
    """The number is of all parts in their order, and stays the same between versions: samples depend on it."""
    assert len({keyed(0, "a", "b"), keyed(0, "b", "a"), keyed(0, "ab"), keyed(1, "a", "b")}) == 4
    assert keyed(0, "a", "b") == 1085059480781696935
