"""A look at a user's corpus: columns, formats, sizes and languages, as ingesting will read them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from tests.corrupting import FORMATS
from tests.pipelines.spec.corpora import prose, rows, write_jsonl

from millrace.pipelines.spec.survey import source_names, survey


def test_columns_are_found_by_name_and_by_what_they_hold(folder: Path) -> None:
    write_jsonl(folder / "a.jsonl", rows())
    found = survey("a", ["*.jsonl"])
    assert (found.text_column, found.id_column) == ("body", "doc_id")
    assert (found.language_column, found.licence_column) == ("lang", "license")
    assert (found.documents, found.is_exact, found.is_code) == (200, True, False)
    assert found.text_bytes == sum(len(row["body"].encode()) for row in rows())


def test_without_a_known_name_the_longest_strings_are_the_text_and_repeated_ids_are_none(
    folder: Path,
) -> None:
    write_jsonl(folder / "a.jsonl", [{"id": n % 5, "kopf": "x", "prosa": prose(n)} for n in range(50)])
    found = survey("a", ["a.jsonl"])
    assert (found.text_column, found.id_column) == ("prosa", None)


def test_parquet_compressed_lines_and_text_files_are_read_alike(folder: Path) -> None:
    texts = [prose(n) for n in range(40)]
    pq.write_table(pa.table({"content": texts}), folder / "a.parquet")
    (folder / "b.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps({"content": t}) + "\n" for t in texts).encode())
    )
    for n, text in enumerate(texts):
        (folder / f"c{n}.txt").write_text(text)
    sizes = {survey("x", [pattern]).text_bytes for pattern in ("a.parquet", "b.jsonl.gz", "*.txt")}
    assert sizes == {sum(map(len, texts))}


@pytest.mark.parametrize("suffix", [".json", ".csv.bz2", ".tsv", ".arrow", ".parquet.gz", ".tar.gz", ".zip"])
def test_every_format_and_archive_is_looked_into(folder: Path, suffix: str) -> None:
    rows = [{"content": prose(n), "id": f"k{n}"} for n in range(40)]
    table = pa.Table.from_pylist(rows)
    packed, text = io.BytesIO(), io.StringIO()
    writer = csv.DictWriter(text, ["content", "id"], delimiter="\t" if suffix == ".tsv" else ",")
    writer.writeheader()
    writer.writerows(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if suffix == ".arrow":
        with pa.ipc.new_file(packed, table.schema) as arrow:
            arrow.write_table(table)
    elif suffix == ".parquet.gz":
        pq.write_table(table, packed)
    elif suffix == ".tar.gz":
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            info = tarfile.TarInfo("inside/a.jsonl")
            info.size = len(lines)
            tar.addfile(info, io.BytesIO(lines))
    elif suffix == ".zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("inside/a.jsonl.gz", gzip.compress(lines))
            archive.writestr("inside/photo.jpg", b"x")
    data = {
        ".json": json.dumps(rows).encode(),
        ".csv.bz2": bz2.compress(text.getvalue().encode()),
        ".tsv": text.getvalue().encode(),
        ".parquet.gz": gzip.compress(packed.getvalue()),
    }
    (folder / f"a{suffix}").write_bytes(data.get(suffix, packed.getvalue()))
    found = survey("x", ["a*"])
    assert (found.text_column, found.id_column, found.documents) == ("content", "id", 40)
    assert found.text_bytes == sum(len(row["content"]) for row in rows)
    assert found.is_exact


@pytest.mark.parametrize("suffix", [".html", ".warc.gz", ".wet"])
def test_pages_and_web_archives_are_looked_into_as_they_are_read(folder: Path, suffix: str) -> None:
    texts = [" ".join(prose(n).split()) for n in range(20)]
    kind = suffix.removesuffix(".gz")
    if kind == ".html":
        for n, text in enumerate(texts):
            (folder / f"{n}.html").write_bytes(FORMATS[kind]([text]))
    else:
        data = FORMATS[kind](texts)
        (folder / f"a{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    found = survey("x", [f"*{suffix}"])
    assert (found.documents, found.text_column, found.bad_fraction) == (20, None, 0)
    assert found.text_bytes == sum(map(len, texts))
    assert found.is_exact


def test_a_large_file_is_estimated_from_its_beginning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.pipelines.spec.survey.SAMPLE_BYTES", 20_000)
    write_jsonl(folder / "a.jsonl", rows(600))
    found = survey("a", ["a.jsonl"])
    assert not found.is_exact
    assert found.documents == pytest.approx(600, rel=0.1)


def test_python_files_and_python_in_columns_are_code(folder: Path) -> None:
    code = [f"import os\n\n\ndef f{n}(path):\n    return os.path.join(path, '{n}')\n" for n in range(30)]
    write_jsonl(folder / "a.jsonl", [{"text": text} for text in code])
    (folder / "b.py").write_text(code[0])
    assert survey("a", ["a.jsonl"]).is_code
    assert survey("b", ["*.py"]).is_code


def test_sources_are_named_after_their_patterns() -> None:
    patterns = ["my/*.jsonl", "s3://b/Web Pages.jsonl.gz", "2024/*", "other/my/*.txt", "**/*.md"]
    assert source_names(patterns) == ["my", "web_pages", "source_2024", "my_2", "documents"]


@pytest.mark.parametrize("is_json", [True, False])
def test_array_records_are_looked_into(folder: Path, is_json: bool) -> None:
    texts = [prose(n) for n in range(40)]
    writer = ArrayRecordWriter(str(folder / "a.array_record"), "group_size:1")
    for text in texts:
        writer.write((json.dumps({"body": text}) if is_json else text).encode())
    writer.close()
    found = survey("x", ["a*"])
    assert (found.text_column, found.documents) == ("body" if is_json else None, 40)
    assert found.text_bytes == sum(map(len, texts))
