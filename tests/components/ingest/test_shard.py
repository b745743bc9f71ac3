"""One part of a source: shards of a bounded size, limits, repeated ids, and a decision on everything."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.components.ingest import shard
from millrace.components.ingest.shard import Shards, Task, ingest_part, remove_shards
from millrace.components.ingest.source import Limits
from millrace.data.sources import files, records
from millrace.data.sources.records import Columns, Options


def task(folder: Path, lines: list[str], limits: Limits | None = None, **fields: Any) -> Task:
    folder.mkdir(exist_ok=True)
    (folder / "a.jsonl").write_text("".join(line + "\n" for line in lines))
    outputs = tuple(str(folder / name) for name in ("documents", "held_out", "decisions"))
    for path in outputs:
        Path(path).mkdir(exist_ok=True)
    columns = Columns(id="id") if "repeated" in fields or "ids" in fields else Columns()
    (part,) = files.plan([str(folder / "a.jsonl")], Options(columns=columns))
    return Task(4, "web", "files", part, limits or Limits(), (outputs[0], outputs[1], outputs[2]), **fields)


def read(folder: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    paths = sorted(Path(folder).iterdir())
    return [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]


def line(number: int, **more: Any) -> str:
    return json.dumps({"text": f"document {number:03d}", **more})


def test_every_record_has_one_decision(tmp_path: Path) -> None:
    lines = [line(0), "{", line(1), '{"text": ""}', line(2), "3"]
    made = task(tmp_path / "in", lines, Limits(held_out_fraction=0.5))
    told = ingest_part(made)
    documents, held_out, decisions = (read(folder) for folder in made.folders)
    assert sorted(row["text"] for row in documents + held_out) == [f"document {n:03d}" for n in range(3)]
    assert sorted(row["rule"] for row in decisions if row["action"] == "drop") == [
        "empty",
        "malformed",
        "malformed",
    ]
    kept = {row["doc_id"]: row["rule"] for row in decisions if row["action"] == "keep"}
    assert {name for name, rule in kept.items() if rule == "held_out"} == {row["doc_id"] for row in held_out}
    assert (told["documents"], told["held_out"], told["bytes"]) == (3, len(held_out), 3 * 12)
    assert len(told["bad"]) == 2
    assert all(path.name.startswith("part-000004-") for path in Path(made.folders[0]).iterdir())


@pytest.mark.parametrize(
    ("limits", "count"), [(Limits(max_documents=3), 3), (Limits(max_bytes=30), 2), (Limits(), 5)]
)
def test_a_limit_takes_the_first_documents(tmp_path: Path, limits: Limits, count: int) -> None:
    made = task(tmp_path / "in", [line(number) for number in range(5)], limits)
    told = ingest_part(made)
    assert [row["text"] for row in read(made.folders[0])] == [f"document {n:03d}" for n in range(count)]
    assert (told["documents"], told["is_cut"]) == (count, count < 5)


def test_a_sample_is_the_same_whatever_else_is_taken(tmp_path: Path) -> None:
    lines = [line(number) for number in range(300)]
    half = task(tmp_path / "half", lines, Limits(sample_fraction=0.5))
    told = ingest_part(half)
    taken = {row["text"] for row in read(half.folders[0])}
    assert told["sampled_out"] == 300 - len(taken)
    assert 110 < len(taken) < 190
    (tmp_path / "half" / "b.jsonl").write_text("")  # another file changes nothing
    again = ingest_part(half)
    assert (again["sampled_out"], {row["text"] for row in read(half.folders[0])}) == (
        told["sampled_out"],
        taken,
    )
    half = dataclasses.replace(half, limits=Limits(sample_fraction=0.25))
    ingest_part(half)
    assert {row["text"] for row in read(half.folders[0])} < taken


def test_an_id_that_came_before_is_malformed_and_the_first_stays(tmp_path: Path) -> None:
    lines = [line(0, id="a"), line(1, id="b"), line(2, id="a"), line(3, id="c")]
    first = task(tmp_path / "first", lines, ids=str(tmp_path / "ids.npy"))
    ingest_part(first)
    ids = [row.decode() for row in np.load(tmp_path / "ids.npy")]
    assert ids[0] == ids[2]
    repeated = ((ids[0], 4), (ids[3], 1))  # "a" first in this task, "c" in an earlier one
    made = dataclasses.replace(first, repeated=repeated)
    told = ingest_part(made)
    assert [row["text"] for row in read(made.folders[0])] == ["document 000", "document 001"]
    dropped = [json.loads(row["evidence"]) for row in read(made.folders[2]) if row["action"] == "drop"]
    assert [one["problem"] for one in dropped] == [
        f"got id '{name}' again, expected ids to be unique" for name in "ac"
    ]
    assert told["documents"] == 2


def test_doing_a_part_again_replaces_its_shards_and_no_others(tmp_path: Path) -> None:
    made = task(tmp_path / "in", [line(number) for number in range(9)])
    ingest_part(made)
    other = Path(made.folders[0]) / "part-000005-000000.parquet"
    other.write_bytes(b"another part's")
    fewer = task(tmp_path / "in", [line(0)])
    ingest_part(fewer)
    assert len(read(made.folders[2])) == 1
    remove_shards(fewer)
    assert [path.name for path in Path(made.folders[0]).iterdir()] == [other.name]


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 9))
def test_shards_are_bounded_and_hold_every_row_in_order(sizes: list[int], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PART_BYTES", 40)
        patch.setattr(shard, "write_shard", lambda path, table: pq.write_table(table, path))
        shards = Shards(Path(folder), 2)
        numbers = pa.table({"number": list(range(len(sizes)))})
        for first in range(0, len(sizes), cut):
            shards.add(numbers.slice(first, cut), np.array(sizes[first : first + cut]))
        shards.flush()
        tables = [pq.read_table(path)["number"].to_pylist() for path in sorted(Path(folder).iterdir())]
    assert [row for table in tables for row in table] == list(range(len(sizes)))
    assert all(sum(sizes[row] for row in table) <= 40 for table in tables)
