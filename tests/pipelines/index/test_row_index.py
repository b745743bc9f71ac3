"""Looking up rows by key finds what reading every row finds."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.documents import shards
from millrace.pipelines.index import folders, row_index
from millrace.pipelines.trace import find, rows
from millrace.pipelines.trace.runs import open_run


def many_documents(folder: Path) -> None:
    """Three shards of 50 rows in small row groups; every third uri is a file of several records."""
    for shard in range(3):
        made = []
        for at in range(50):
            number = shard * 50 + at
            uri, locator = (
                (f"crawl/{number // 30}.jsonl", str(number % 30))
                if number < 60
                else (f"lib{number % 7}/m{number % 5}.py", "")
            )
            made.append(
                {"doc_id": shards.document_id(uri, f"{locator}{number}"), "text": "t", "source": "s", "lang": "en",
                 "uri": uri, "locator": locator, "metadata": "{}"}
            )  # fmt: skip
        pq.write_table(shards.documents_table(made), folder / shards.shard_name(shard), row_group_size=7)


@pytest.fixture
def store(builder: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A store with the documents above, indexed in runs of 16 keys."""
    monkeypatch.setattr(row_index, "RUN_KEYS", 16)
    builder.stage("ingest", "ingest", {"documents": ("documents", many_documents)})
    builder.run()
    return builder


def everything(run: object) -> list[dict[str, str]]:
    """Every row, read without an index."""
    (artifact,) = rows.artifacts_of(run, "documents")  # type: ignore[arg-type]
    folder = run.store.folder(artifact.digest)  # type: ignore[attr-defined]
    return [row for table in shards.read_shards(folder) for row in table.to_pylist()]


def test_every_document_is_found_by_its_id_and_by_first_digits(store: SimpleNamespace) -> None:
    with open_run(store.store) as run:
        for row in everything(run):
            assert find.find_document(run, row["doc_id"]).doc_id == row["doc_id"]
            (found,) = find.with_prefix(run, row["doc_id"][:12])
            assert (found.uri, found.locator) == (row["uri"], row["locator"])


def ends_with(end: str, uri: str) -> bool:
    return f"/{uri}".endswith(f"/{end}")


def test_ends_of_uris_find_what_a_scan_finds(store: SimpleNamespace) -> None:
    with open_run(store.store) as run:
        known = everything(run)
        for end in ("m3.py", "lib2/m1.py", "1.jsonl", "crawl/0.jsonl"):
            expected = {row["doc_id"] for row in known if f"/{row['uri']}".endswith(f"/{end}")}
            found = find.at_address(run, end, partial(ends_with, end))
            assert {source.doc_id for source in found} == expected


def test_a_record_is_found_by_its_place_whatever_its_id_is_made_of(store: SimpleNamespace) -> None:
    with open_run(store.store) as run:
        for row in everything(run):
            if row["locator"]:
                assert find.find_document(run, f"{row['uri']}#{row['locator']}").doc_id == row["doc_id"]


def test_a_damaged_or_missing_index_is_made_again(store: SimpleNamespace) -> None:
    with open_run(store.store) as run:
        ids = {row["doc_id"] for row in everything(run)}
        (artifact,) = rows.artifacts_of(run, "documents")
    keys = folders.index_folder(store.store) / artifact.digest / "ids.keys"
    keys.write_bytes(keys.read_bytes()[:-8])
    with open_run(store.store) as run:
        assert find.sources_of(run, sorted(ids)).keys() == ids


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.integers(0, 3))
def test_bytes_of_ids_are_their_digits_and_keys_the_first(ids: list[bytes], skipped: int) -> None:
    column = pa.array([one.hex() for one in ids], pa.string()).slice(skipped)
    expected = [int.from_bytes(one[:8], "big") for one in ids[skipped:]]
    given = row_index.id_bytes(column)
    assert [one.tobytes() for one in given] == ids[skipped:]
    assert row_index.id_keys(given).tolist() == expected


@pytest.mark.parametrize("runs", [4, 16, 1000])
def test_keys_are_found_in_every_sorted_run(
    tmp_path: Path, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_index, "RUN_KEYS", runs)
    draw = random.Random(runs)
    keys = np.array([draw.randrange(40) for _ in range(100)], np.uint64)
    writer = row_index._KeyWriter(tmp_path, "ids")
    for first in range(0, 100, 13):
        part = keys[first : first + 13]
        writer.add(part, np.arange(first, first + part.size))
    writer.close()
    np.save(tmp_path / "groups.npy", np.array([[0, 0, 0]]))
    index = row_index.RowIndex.__new__(row_index.RowIndex)
    index._folder, index._arrays = tmp_path, {}
    for low in range(0, 40, 3):
        expected = [row for row, key in enumerate(keys.tolist()) if low <= key <= low + 2]
        assert index.lookup("ids", low, low + 2) == expected
