"""Parquet: ranges of row groups, and damage that costs only itself."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corrupting import texts
from tests.data.sources.reading import problems, ranges, read, texts_of


@given(st.integers(200, 30_000))
def test_the_ranges_of_row_groups_are_the_whole_whatever_their_size(
    tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "a.parquet"
    pq.write_table(pa.table({"text": texts(3, 100)}), path, row_group_size=7)
    assert ranges(path, size)[0] == texts(3, 100)


def hash_like(index: int) -> int:
    return index * 2654435761 % 2**32


def test_a_corrupt_parquet_page_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"text {hash_like(index)}" for index in range(20_000)]})
    pq.write_table(table, path, row_group_size=5000, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 500] = b"\0" * 500
    path.write_bytes(content)
    found = read(path)
    assert len(texts_of(found)) >= 5000
    assert len(problems(found)) == 1


def test_invalid_utf8_in_a_parquet_string_costs_only_its_row(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"\xff", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert texts_of(found) == ["good", "fine"]
    assert problems(found)[0][0] == "1"
