"""Arrow: files and streams give the same rows, a cut one its whole batches, and no damage ends the process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.sources.reading import contents

TEXTS = [f"row {number} " + "x" * 50 for number in range(90)]
TABLE = pa.table({"text": TEXTS, "label": list(range(90))})


def written(kind: str, table: pa.Table = TABLE, rows: int = 30) -> bytes:
    sink = pa.BufferOutputStream()
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
def test_a_row_is_a_document_in_files_and_streams(tmp_path: Path, kind: str, text: pa.DataType) -> None:
    table = TABLE.set_column(0, "text", TABLE["text"].cast(text))
    (tmp_path / "a.arrow").write_bytes(written(kind, table))
    assert contents(tmp_path / "a.arrow") == (TEXTS, [])


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_truncated_one_gives_the_batches_that_are_whole(tmp_path: Path, kind: str) -> None:
    whole = written(kind)
    (tmp_path / "a.arrow").write_bytes(whole[: whole.index(TEXTS[75].encode())])
    found, (problem,) = contents(tmp_path / "a.arrow")
    assert found == TEXTS[:60]
    assert "row 60: got a truncated or corrupt Arrow stream" in problem


def test_bytes_behind_the_end_of_a_stream_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(written("stream") + b"more than nothing")
    found, (problem,) = contents(tmp_path / "a.arrow")
    assert found == TEXTS
    assert "17 bytes or more after the end mark of an Arrow stream" in problem


def test_what_is_no_arrow_is_one_malformed_record(tmp_path: Path) -> None:
    (tmp_path / "a.arrow").write_bytes(b"no arrow at all, only words")
    found, (problem,) = contents(tmp_path / "a.arrow")
    assert (found, "got no Arrow stream" in problem) == ([], True)


@given(st.sampled_from(["file", "stream"]), st.data())
def test_a_flipped_byte_costs_rows_and_never_the_process(kind: str, data: st.DataObject) -> None:
    content = bytearray(written(kind))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.arrow"
        path.write_bytes(content)
        found, problems = contents(path)
    assert len(found) <= len(TEXTS)
    assert len(found) == len(TEXTS) or problems
