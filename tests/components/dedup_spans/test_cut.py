"""Evidence quotes the cut text: boundaries of units, quotes in whole characters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from millrace.components.dedup_spans.config import AnyMethod
from millrace.components.dedup_spans.cut import QUOTE_BYTES, boundaries, quote
from millrace.data.text.batch import from_texts

TEXTS = ["One line here.\nAnother line.\n\nA paragraph of its own.", "", "Größe und Maß. Noch ein Satz!"]


@pytest.mark.parametrize("rows", [[0, 1, 2], [2], [0], []])
@pytest.mark.parametrize("method", ["lines", "paragraphs", "sentences", "substrings"])
def test_units_of_some_texts_are_their_own_units_in_order(method: str, rows: list[int]) -> None:
    made: AnyMethod = TypeAdapter(AnyMethod).validate_python({"method": method})
    batch = from_texts(TEXTS)
    starts, ends, offsets = boundaries(made, batch, np.array(rows, np.int64))
    pieces = [batch.data[start:end].tobytes().decode() for start, end in zip(starts, ends, strict=True)]
    assert len(offsets) == len(rows) + 1
    for at, row in enumerate(rows):
        own = pieces[offsets[at] : offsets[at + 1]]
        alone = from_texts([TEXTS[row]])
        first, last, _ = boundaries(made, alone, np.array([0]))
        assert own == [alone.data[a:b].tobytes().decode() for a, b in zip(first, last, strict=True)]
        assert all(piece and piece in TEXTS[row] for piece in own)
    if method == "substrings":
        assert pieces == [word for row in rows for word in TEXTS[row].split()]


@given(st.text(min_size=1, max_size=120), st.text(max_size=5))
def test_a_quote_is_the_beginning_in_whole_characters(text: str, before: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    before = before.encode("utf-8", "ignore").decode()
    batch = from_texts([before + text + "after"])
    start = len(before.encode())
    found = quote(batch, start, start + len(text.encode()))
    if len(text.encode()) <= QUOTE_BYTES:
        assert found == text
    else:
        assert found.endswith("…")
        assert text.startswith(found[:-1])
        assert len(found[:-1].encode()) > QUOTE_BYTES - 4
