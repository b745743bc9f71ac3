"""The passes of dedup_spans: which documents a method looks at, and numbers that go on over shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.dedup_spans import passes
from millrace.components.dedup_spans.config import DedupSpansConfig, Lines
from millrace.data.documents import catalogue
from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard

LINE = "the wheel of the old mill turned all day"


@pytest.mark.parametrize(("sources", "rows"), [(None, [0, 1, 2, 3]), (("b",), [1]), (("a", "c"), [0, 2, 3])])
def test_a_method_looks_at_its_sources(sources: tuple[str, ...] | None, rows: list[int]) -> None:
    column = pa.chunked_array([["a", "b"], ["a", "c"]])
    assert passes._rows_of(Lines(method="lines", sources=sources), column).tolist() == rows


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=12))
def test_offsets_of_some_rows_become_those_of_all(documents: list[tuple[bool, int]]) -> None:
    rows = np.array([at for at, (is_taken, _) in enumerate(documents) if is_taken], np.int64)
    lengths = [units for is_taken, units in documents if is_taken]
    found = passes._spread(np.cumsum([0, *lengths]), rows, len(documents))
    assert np.diff(found).tolist() == [units if is_taken else 0 for is_taken, units in documents]


def test_a_line_goes_wherever_it_comes_again_with_its_first_document(tmp_path: Path) -> None:
    """Read, exchange, join and find by hand, over two shards."""
    config = DedupSpansConfig.model_validate({"methods": [{"method": "lines"}]})
    work = tmp_path / "work"
    for name in ("windows-0", "later-0"):
        (work / name).mkdir(parents=True)
    texts = [
        ["only here it says so once and never more\n" + LINE],
        [LINE + "\nand now to something else entirely new"],
    ]
    for number, own in enumerate(texts):
        rows = [
            {"doc_id": document_id(text, ""), "text": text, "source": f"s{number}", "uri": text[:9]}
            | {"lang": "en", "locator": "", "metadata": "{}"}
            for text in own
        ]
        path = tmp_path / shard_name(number)
        write_shard(path, documents_table(rows))
        assert passes.read(config, str(work), (number, str(path))) == [f"s{number}"]
    parts = passes.parts_of(0, work / "windows-0", 2)
    passes.join(config, work, 2)
    assert np.load(work / "documents.npy").tolist() == [0, 1, 2]
    assert np.load(work / "units-0.npy").tolist() == [0, 2, 4]
    top = [row for part in parts for row in passes.find(config, str(work), part)]
    assert top == [[2, 1]]  # twice, first as unit 1 of the corpus
    assert [name for name, _ in catalogue.names(work / "names", np.array([0, 1]))] == [
        document_id(own[0], "") for own in texts
    ]
