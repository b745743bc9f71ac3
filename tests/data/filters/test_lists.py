"""Lists are read by the line, and their tables hold their hashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.filters.lists import hash_table, read_list


def test_a_list_file_has_one_entry_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("\ufeff# bad words\r\n\r\nbad\r\n  very bad \r\n".encode())
    assert read_list(path) == ("bad", "very bad")
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="without an entry"):
        read_list(path)
    with pytest.raises(ValueError, match="expected a UTF-8 file"):
        read_list(tmp_path / "missing.txt")


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_a_table_holds_its_hashes_and_is_half_empty(hashes: list[int]) -> None:
    table = hash_table(hashes)
    assert set(table.tolist()) - {0} == {max(value, 1) for value in hashes}
    assert table.size & (table.size - 1) == 0
    assert (table == 0).sum() >= table.size / 2
