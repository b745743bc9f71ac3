"""Token streams read back what was written, across shards, and know which document a token belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.training import streams as token_stream

TOKENS = np.random.default_rng(0).integers(0, 70_000, 103)
LENGTHS = [1, 40, 2, 60]


@pytest.fixture(scope="module", params=[7, 1_000])
def streams(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> token_stream.TokenStreams:
    folder = tmp_path_factory.mktemp("tokens")
    starts = np.cumsum([0, *LENGTHS[:-1]])
    spans = pa.table({"doc_id": [f"{i:032x}" for i in range(4)], "start": starts, "length": LENGTHS})
    parts = np.split(TOKENS, [10, 11, 50])
    entry = token_stream.write_source(folder, "code", parts, spans, 70_000, shard_tokens=request.param)
    empty = token_stream.write_source(folder, "none", [], spans.slice(0, 0), 70_000)
    token_stream.write_index(folder, 70_000, {"code": entry, "none": empty})
    return token_stream.TokenStreams.load(folder)


@settings(deadline=None)
@given(start=st.integers(0, 103), length=st.integers(0, 103))
def test_every_span_reads_as_written(streams: token_stream.TokenStreams, start: int, length: int) -> None:
    """A span is the same tokens whether or not it crosses shards; one outside raises."""
    if start + length > 103:
        with pytest.raises(IndexError, match="inside"):
            streams.read("code", start, length)
    else:
        assert np.array_equal(streams.read("code", start, length), TOKENS[start : start + length])


@settings(deadline=None)
@given(start=st.integers(0, 102), length=st.integers(0, 103))
def test_documents_of_a_span_are_those_that_touch_it(
    streams: token_stream.TokenStreams, start: int, length: int
) -> None:
    """The table lookup equals looking at every document."""
    expected = []
    for row in streams.documents("code").to_pylist():
        if row["start"] < start + length and start < row["start"] + row["length"] and length > 0:
            expected.append((row["doc_id"], row["start"], row["length"]))
    assert [tuple(span) for span in streams.documents_in("code", start, length)] == expected


def test_documents_are_found_by_id(streams: token_stream.TokenStreams) -> None:
    """A document's span is that of the table; an unknown id gives nothing; an empty source is whole."""
    assert streams.span_of(f"{2:032x}") == ("code", 41, 2)
    assert streams.span_of("unknown") is None
    assert streams.source_tokens == {"code": 103, "none": 0}
    assert streams.read("none", 0, 0).size == 0


def test_narrow_types_hold_small_vocabularies() -> None:
    """Ids take two bytes as long as two bytes hold them."""
    assert token_stream.token_dtype(65_536) == np.uint16
    assert token_stream.token_dtype(65_537) == np.uint32


def test_a_stream_that_disagrees_with_its_documents_is_refused(tmp_path: Path) -> None:
    """Too few or too many tokens for the table is an error, never zeros or a cut."""
    spans = pa.table({"doc_id": ["a"], "start": [0], "length": [5]})
    with pytest.raises(ValueError, match="2 tokens of s too few"):
        token_stream.write_source(tmp_path, "s", [np.arange(3)], spans, 300)
    with pytest.raises(ValueError, match="more tokens of t than the 5"):
        token_stream.write_source(tmp_path, "t", [np.arange(3), np.arange(3)], spans, 300)
