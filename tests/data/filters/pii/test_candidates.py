"""The compiled pass proposes every place that an exact matcher would take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.filters.pii.examples import FOUND, LEFT, SECRETS

from millrace.data.filters.pii import candidates as pass_
from millrace.data.filters.pii import rules
from millrace.data.text.batch import TextBatch, from_texts


def places(batch: TextBatch) -> list[tuple[int, ...]]:
    """Row, kind, and start and end in the text, of all candidates."""
    found = pass_.candidates(batch, rules._tables())
    rows = found.rows.tolist()
    starts = [batch.offsets[row] for row in rows]
    columns = (found.kinds.tolist(), (found.starts - starts).tolist(), (found.ends - starts).tolist())
    return list(zip(rows, *columns, strict=True))


@pytest.mark.parametrize("text", [text for text, _ in FOUND] + list(SECRETS.values()))
def test_every_text_with_personal_data_has_a_candidate(text: str) -> None:
    assert places(from_texts([text]))


@given(st.lists(st.sampled_from([text for text, _ in FOUND] + LEFT), max_size=5))
def test_candidates_are_of_their_text_alone_and_in_its_order(texts: list[str]) -> None:
    """Whatever texts stand around it."""
    together = places(from_texts(texts))
    assert together == [
        (row, *rest) for row, text in enumerate(texts) for _, *rest in places(from_texts([text]))
    ]
    for row, _, start, end in together:
        assert 0 <= start <= end <= len(texts[row].encode())


def test_plain_prose_has_none() -> None:
    """So that only few texts are looked at by Python."""
    assert not places(
        from_texts(["The river rose in the night, 12 feet in 1999; by morning (at 6) it stood.", ""])
    )
