"""A step's documents are those that its rows overlap, told in few words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.training.mixture.documents import documents_of, in_words
from millrace.data.training.mixture import Mixture, Phase
from millrace.data.training.streams import TokenStreams, write_index, write_source

LENGTH, ROW = 7, 20


@pytest.fixture
def streams(tmp_path: Path) -> TokenStreams:
    """A source of forty documents of seven tokens."""
    documents = [np.full(LENGTH, number) for number in range(40)]
    ids = [f"{number:032x}" for number in range(40)]
    starts = [LENGTH * number for number in range(40)]
    spans = pa.table({"doc_id": ids, "start": starts, "length": [LENGTH] * 40})
    write_index(tmp_path, 64, {"a": write_source(tmp_path, "a", documents, spans, 64)})
    return TokenStreams.load(tmp_path)


def test_rows_name_the_documents_they_overlap(streams: TokenStreams) -> None:
    """By division of the span's ends; at most eight rows, three documents of each, and their number."""
    mixture = Mixture(0, 10, [Phase(200, ROW, {"a": 1})], {"a": 40 * LENGTH})
    rows = documents_of(streams, mixture, 0)
    assert [row["row"] for row in rows] == list(range(8))
    for row, (source, start, length) in zip(rows, mixture.locate(0), strict=False):
        wanted = [f"{n:032x}" for n in range(start // LENGTH, (start + length - 1) // LENGTH + 1)]
        assert (row["source"], row["documents"], row["doc_ids"]) == (source, len(wanted), wanted[:3])


def test_words_say_where_documents_were_left_out() -> None:
    """Three dots after a row that has more than are named."""
    rows = [
        {"row": 0, "source": "a", "documents": 1, "doc_ids": ["x"]},
        {"row": 4, "source": "b", "documents": 9, "doc_ids": ["y", "z"]},
    ]
    assert in_words(rows) == "\n  row 0: a x\n  row 4: b y, z ..."
