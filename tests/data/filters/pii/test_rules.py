"""Personal data: what is taken out, what only looks like it, and that every text comes out whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.filters.pii.examples import FOUND, LEFT, PEM, SECRETS, edited, texts_of

from millrace.data.filters.pii import rules as pii
from millrace.data.text.batch import TextBatch, from_texts

# No complete key stands in this file, so that no scanner stumbles over it.


def test_kinds_replacements_and_private_networks_are_chosen() -> None:
    text = "a@b.org from 10.1.2.3 and fd12:3456::1"
    assert edited(text, kinds=["ip"]) == text
    assert edited(text, kinds=["ip"], private_addresses=True) == "a@b.org from <IP> and <IP>"
    replacements = {**pii.REPLACEMENTS, "email": "someone@example.com"}
    assert edited(text, replacements=replacements) == text.replace("a@b.org", "someone@example.com")
    with pytest.raises(ValueError, match="itself found as personal data"):
        edited(text, replacements={**pii.REPLACEMENTS, "email": "nobody@nowhere.org"})


def test_counts_are_of_places_in_each_text() -> None:
    found = pii.edit(from_texts(["nothing", "a@b.org, c@d.org 93.184.216.34", ""])).counts
    assert {kind: column.tolist() for kind, column in found.items()} == {
        **{kind: [0, 0, 0] for kind in pii.KINDS},
        "email": [0, 2, 0],
        "ip": [0, 1, 0],
    }


def test_a_batch_without_personal_data_is_the_same_memory() -> None:
    batch = from_texts(["all", "fine 2024-01-15"])
    assert pii.edit(batch).batch.data is batch.data
    assert len(pii.edit(from_texts([])).batch) == 0


PIECES = [
    "a@b.org", "@", "x.", "é", "漢", " ", "\n", "+49 30 258172", "+1", "(212) 736-5000", "212-736-5000", "(", ")", "tel ",
    "phone", "736", "-", ".", "93.184.216.34", "2a00:1450::200e", ":", "4111111111111111", "DE89370400440532013000", "/",
    SECRETS["AWS"], SECRETS["GitHub"], SECRETS["JWT"], PEM, "-----BEGIN ", "7", "v", "\xa0", "\u2013",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=8).map("".join)


@given(st.lists(TEXTS, max_size=4), st.booleans())
def test_editing_twice_changes_nothing_more_and_rows_stay_apart(texts: list[str], assigned: bool) -> None:
    once = pii.edit(from_texts(texts), assigned_secrets=assigned)
    found = texts_of(once.batch)
    assert found == [edited(text, assigned_secrets=assigned) for text in texts]
    twice = pii.edit(once.batch, assigned_secrets=assigned)
    assert texts_of(twice.batch) == found
    changed = [any(row) for row in zip(*once.counts.values(), strict=True)]
    for before, after, is_changed in zip(texts, found, changed, strict=True):
        assert is_changed == (before != after)


@given(st.lists(st.sampled_from([text for text, _ in FOUND] + LEFT), max_size=6), st.data())
def test_a_slice_of_a_batch_is_edited_alone(texts: list[str], data: st.DataObject) -> None:
    whole = from_texts(texts)
    first = data.draw(st.integers(0, len(texts)))
    part = TextBatch(whole.data, whole.offsets[first:])
    assert texts_of(pii.edit(part).batch) == texts_of(pii.edit(whole).batch)[first:]
