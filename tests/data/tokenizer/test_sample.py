"""Samples honour weights and budgets, and do not depend on the documents' order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.tokenizer import sample as text_sample


@settings(deadline=None)
@given(
    available=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1_000), min_size=1),
    weights=st.dictionaries(st.sampled_from("abcd"), st.floats(0, 5), max_size=4),
    total=st.integers(0, 3_000),
)
def test_a_budget_is_spent_as_far_as_there_is_text(
    available: dict[str, int], weights: dict[str, float], total: int
) -> None:
    """No source gives more than it has, and all sources together give the budget or all that they have."""
    weights = {name: weight for name, weight in weights.items() if weight > 1e-6 or weight == 0}
    alloted = text_sample.allot(available, weights, total)
    drawn = weights or available
    reachable = sum(size for name, size in available.items() if drawn.get(name, 0) > 0)
    assert all(0 <= alloted[name] <= available[name] for name in available)
    assert min(total, reachable) - len(available) <= sum(alloted.values()) <= min(total, reachable)


def test_a_short_source_leaves_its_share_to_the_others() -> None:
    """The share that a small source cannot fill goes to the others by their weights."""
    alloted = text_sample.allot({"a": 10, "b": 900, "c": 900}, {"a": 2, "b": 1, "c": 1}, 410)
    assert alloted == {"a": 10, "b": 200, "c": 200}


@settings(deadline=None)
@given(st.permutations([f"{i:032x}" for i in range(12)]), st.integers(0, 3))
def test_ranks_depend_on_ids_only(doc_ids: list[str], seed: int) -> None:
    """Reordering the documents reorders nothing in the chosen ids."""
    chosen = [doc_ids[index] for index in text_sample.ranks(doc_ids, seed)]
    reference = sorted(doc_ids)
    assert chosen == [reference[index] for index in text_sample.ranks(reference, seed)]


@settings(deadline=None)
@given(st.text(st.sampled_from("aé日😀\n"), max_size=60), st.integers(1, 50), st.integers(0, 10**9))
def test_windows_are_whole_characters_of_the_text(text: str, limit: int, position: int) -> None:
    """A window is a substring within its limit."""
    part = text_sample.window(text, limit, position)
    assert part in text
    assert len(part.encode()) <= limit or part == text
    assert len(text.encode()) > limit or part == text


def test_choose_cuts_only_the_last_document() -> None:
    """Documents are taken whole until the budget ends in one."""
    assert text_sample.choose([2, 0, 1], [5, 7, 3], 6) == {2: 3, 0: 3}


def test_temperature_moves_shares_from_natural_to_equal() -> None:
    """With alpha 1 shares are those of the bytes, with 0 all alike, in between by the power."""
    available = {"en": 900, "de": 100, "fr": 0}
    assert text_sample.tempered(available, 1.0) == {"en": 0.9, "de": 0.1}
    assert text_sample.tempered(available, 0.0) == {"en": 0.5, "de": 0.5}
    shares = text_sample.tempered(available, 0.5)
    assert round(shares["en"] / shares["de"], 9) == 3.0
    assert text_sample.tempered({"en": 0}, 0.5) == {}
