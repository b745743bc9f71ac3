"""Formats, encodings and archives one by one: what decides how a file is read, and what its limits are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.corrupting import FORMATS, read_file, texts

from millrace.data.sources import files
from millrace.data.sources.records import Options, Record


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("named", [".jsonl", ".parquet", ".csv", ".txt"])
def test_contents_decide_over_a_wrong_suffix_where_they_say_what_they_are(
    tmp_path: Path, written: str, named: str
) -> None:
    document = texts(1)[:1] if written in (".txt", ".html") else texts(1)
    if written in (".html", ".warc"):
        document = [" ".join(text.split()) for text in document]
    path = tmp_path / f"a{named}"
    path.write_bytes(gzip.compress(FORMATS[written](document)))
    found, bad = read_file(path)
    if written.endswith((".parquet", ".arrow", ".warc", ".wet")) and "stream" not in written:
        assert (found, bad) == (document, [])
    elif written != named and named != ".txt":
        assert found == document or bad


def test_a_licence_column_and_a_default_go_to_the_metadata_whatever_the_format(tmp_path: Path) -> None:
    rows = [{"text": "a", "rights": "MIT"}, {"text": "b", "rights": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.csv").write_text("text,rights\na,MIT\nb,\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    columns = files.DEFAULTS.columns.__class__(license="rights")
    for path in sorted(tmp_path.iterdir()):
        items = [
            item
            for part in files.plan([str(path)], Options(columns=columns, default_license="CC0-1.0"))
            for item in files.read(part)
        ]
        found = [
            metadata
            for item in items
            for metadata in (
                [dict(item.metadata)]
                if isinstance(item, Record)
                else map(json.loads, item.metadata.to_pylist())  # type: ignore[union-attr]
            )
        ]
        assert found == [{"license": "MIT"}, {"license": "CC0-1.0"}]
