"""Shards on disk: the same bytes for the same rows, read back in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.data.documents import shards


def rows(count: int) -> list[dict[str, Any]]:
    empty = dict.fromkeys(shards.DOCUMENTS.names, "")
    return [{**empty, "doc_id": shards.document_id("a", str(i)), "text": f"text {i} é"} for i in range(count)]


def test_a_shard_comes_back_and_has_the_same_bytes_however_its_table_is_cut(tmp_path: Path) -> None:
    """An artifact is addressed by its bytes, so chunks of a table may not show in them."""
    table = shards.documents_table(rows(9))
    shards.write_shard(tmp_path / "a", table)
    assert shards.read_shard(tmp_path / "a").to_pylist() == rows(9)
    assert shards.read_shard(tmp_path / "a", ["text"]).column_names == ["text"]
    shards.write_shard(tmp_path / "b", table.combine_chunks())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Other files of the folder are none."""
    for index in (10, 2, 0):
        table = shards.documents_table(rows(index + 1))
        shards.write_shard(tmp_path / shards.shard_name(index), table)
    (tmp_path / "survivors.parquet").touch()
    assert [path.name for path in shards.shard_paths(tmp_path)] == [shards.shard_name(i) for i in (0, 2, 10)]
    assert [table.num_rows for table in shards.read_shards(tmp_path)] == [1, 3, 11]


def test_an_id_depends_on_where_a_record_is() -> None:
    """By its file and its place in it, neither of which runs into the other."""
    ids = {shards.document_id(*where) for where in [("a", ""), ("a", "1"), ("a1", ""), ("b", "1")]}
    assert len(ids) == 4
    assert all(len(one) == 32 for one in ids)
