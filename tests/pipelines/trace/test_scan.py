"""A search of a shard's bytes finds what a search of each text finds."""

from __future__ import annotations

import io
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.pipelines.trace import scan

TEXTS = st.lists(st.text("ab é\n\t\u00a0", max_size=12), max_size=12)
PHRASES = st.text("ab é\n\t\u00a0", min_size=1, max_size=5).filter(str.strip)


def shard(texts: list[str], text_type: pa.DataType) -> io.BytesIO:
    """A shard whose documents' ids are their numbers, in row groups of five."""
    ids = [str(number) for number in range(len(texts))]
    out = io.BytesIO()
    table = pa.table({"doc_id": pa.array(ids, pa.string()), "text": pa.array(texts, text_type)})
    pq.write_table(table, out, row_group_size=5)
    return out


@pytest.mark.parametrize("text_type", [pa.string(), pa.large_string()])
@given(texts=TEXTS, phrase=PHRASES, limit=st.integers(0, 4))
def test_each_way_finds_what_a_search_of_each_text_finds(
    text_type: pa.DataType, texts: list[str], phrase: str, limit: int
) -> None:
    words = phrase.split()
    pattern = "[\\t\\n\\f\\r ]+".join(re.escape(word) for word in words)
    exact = [(str(number), text) for number, text in enumerate(texts) if phrase in text]
    loose = [(str(number), text) for number, text in enumerate(texts) if re.search(pattern, text)]
    ways = [scan.exactly(phrase), scan.loosely(words)]
    for way, expected in zip(ways, (exact, loose), strict=True):
        assert scan.scan(shard(texts, text_type), [way], limit) == [
            scan.Matches(len(expected), expected[:limit])
        ]
    first, second = scan.scan(shard(texts, text_type), ways, limit)
    assert (first.count, second.count) == (len(exact), 0 if exact else len(loose))
