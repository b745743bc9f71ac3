"""The arrays of spans say what the tables of documents say."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.index.span_arrays import Place, Spans, SpanWriter

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(st.dictionaries(st.sampled_from("abc"), LENGTHS, min_size=1), st.integers(0, 60), st.integers(1, 30))
def test_documents_are_found_by_row_and_by_their_tokens(
    sources: dict[str, list[int]], start: int, length: int
) -> None:
    known: list[Place] = []
    first_rows: dict[str, int] = {}
    with TemporaryDirectory() as folder:
        writer = SpanWriter(Path(folder))
        for source, lengths in sources.items():
            first_rows[source] = len(known)
            starts = np.cumsum([0, *lengths[:-1]])
            ids = np.random.default_rng(len(known)).integers(0, 256, (len(lengths), 16), np.uint8)
            writer.add(ids, starts, np.array(lengths))
            places = zip(ids, starts.tolist(), lengths, strict=True)
            known += [Place(doc_id.tobytes().hex(), source, first, size) for doc_id, first, size in places]
        writer.close()
        spans = Spans(Path(folder), first_rows)
        assert [spans.of_row(row) for row in range(len(known))] == known
        for source in sources:
            assert spans.inside(source, start, start + length) == [
                place
                for place in known
                if place.source == source
                and place.start < start + length
                and start < place.start + place.length
            ]
