"""The index says what the records say, whatever happens to its file."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from millrace.data.documents import shards
from millrace.pipelines.index import folders, lineage
from millrace.pipelines.store.errors import StoreError
from millrace.pipelines.store.store import Store, artifact_path


def row_files(store: Store) -> dict[str, bytes]:
    """Every file of the arrays that say where rows are."""
    folder = folders.index_folder(store)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contents(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, the index's own numbers replaced by digests."""
    with contextlib.closing(lineage.open_index(store)) as index:
        names = dict(index.execute("SELECT id, digest FROM artifacts").fetchall())
        tables = [row[0] for row in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for table in tables:
            rows = map(dict, index.execute(f"SELECT * FROM {table}").fetchall())
            found[table] = sorted(
                (
                    tuple(
                        names[row[key]]
                        if (key in ("artifact", "id") and table != "examples") or key == "artifact"
                        else row[key]
                        for key in row
                    )
                    for row in rows
                ),
                key=repr,
            )
        return found


def test_reindexing_counts_what_the_records_hold(small_store: SimpleNamespace) -> None:
    counts = lineage.reindex(small_store.store)
    assert counts["documents"] == 7
    assert counts["decisions"] == 8 + 6 + 5 + 4
    assert counts["spans"] == 3
    assert counts["examples"] == 2
    assert counts["stages"] == 7
    assert counts["runs"] == 1


def test_bringing_up_to_date_stage_by_stage_equals_building_at_once(
    small_store: SimpleNamespace, tmp_path: Path
) -> None:
    complete, rows = contents(small_store.store), row_files(small_store.store)
    aside = tmp_path / "aside"
    (small_store.store.scratch / "stages").rename(aside)
    (small_store.store.scratch / "stages").mkdir()
    step_by_step: object = None
    for record in sorted(aside.iterdir(), reverse=True):
        record.rename(small_store.store.scratch / "stages" / record.name)
        step_by_step = contents(small_store.store)
    assert step_by_step == complete
    assert row_files(small_store.store) == rows


@pytest.mark.parametrize("damage", ["absent", "garbage", "empty", "other version", "torn"])
def test_a_damaged_index_is_built_again(small_store: SimpleNamespace, damage: str) -> None:
    expected = contents(small_store.store)
    path = small_store.store.scratch / lineage.FILE
    if damage == "absent":
        path.unlink()
    elif damage == "other version":
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE examples")
            other.execute("PRAGMA user_version = 99")
    else:
        data = path.read_bytes()
        torn = data[:4096] + bytes(len(data) - 4096)
        path.write_bytes({"garbage": b"not a database" * 500, "empty": b"", "torn": torn}[damage])
    assert contents(small_store.store) == expected


def test_what_gc_removed_is_forgotten(small_store: SimpleNamespace) -> None:
    contents(small_store.store)
    (small_store.store.scratch / "stages" / f"{small_store.builder.keys['tokenize']}.json").unlink()
    (small_store.store.scratch / "stages" / f"{small_store.builder.keys['pretrain']}.json").unlink()
    digests = {row[1] for row in contents(small_store.store)["artifacts"]}
    assert small_store.digests["tokenize.tokens"] not in digests
    kept = {path.name for path in folders.index_folder(small_store.store).iterdir()}
    assert kept < digests


def test_an_unfinished_run_is_read_again(small_store: SimpleNamespace) -> None:
    run = "20250102-000000-bbbb"
    small_store.builder.run(run, status="running")
    assert [row[2] for row in contents(small_store.store)["runs"]] == ["done", "running"]
    small_store.builder.run(run, status="done")
    assert [row[2] for row in contents(small_store.store)["runs"]] == ["done", "done"]


def test_a_store_that_cannot_be_written_is_indexed_in_memory(small_store: SimpleNamespace) -> None:
    (small_store.store.scratch / lineage.FILE).mkdir()
    with contextlib.closing(lineage.open_index(small_store.store)) as index:
        assert index.execute("SELECT sum(rows) FROM artifacts WHERE kind = 'decisions'").fetchone()[0] == 23


def test_a_damaged_artifact_is_named(small_store: SimpleNamespace) -> None:
    shard = (
        small_store.store.scratch
        / artifact_path(small_store.digests["dedup.decisions"])
        / "part-00000.parquet"
    )
    shard.chmod(0o644)
    shard.write_bytes(b"rot")
    with pytest.raises(
        StoreError, match=f"{small_store.digests['dedup.decisions'][:12]} is damaged: part-00000"
    ):
        lineage.reindex(small_store.store)


def test_an_artifact_that_never_was_what_its_kind_says_is_named(small_store: SimpleNamespace) -> None:
    record = small_store.builder.stage(
        "again",
        "dedup",
        {"decisions": ("decisions", lambda folder: (folder / "part-0.parquet").write_bytes(b"no"))},
    )
    with pytest.raises(
        StoreError, match=f"{record.outputs['decisions']['digest']} cannot be read as decisions"
    ):
        lineage.reindex(small_store.store)


def test_processes_that_ask_at_once_all_get_the_whole_index(small_store: SimpleNamespace) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(contents, [small_store.store] * 8))
    assert all(one == found[0] for one in found)
    assert len(found[0]["stages"]) == 7


@pytest.mark.parametrize("builder", ["remote"], indirect=True)
def test_a_store_on_an_object_store_is_indexed_without_its_cache(small_store: SimpleNamespace) -> None:
    expected = contents(small_store.store)
    shutil.rmtree(small_store.store.scratch)
    small_store.store.scratch.mkdir(parents=True)
    assert contents(small_store.store) == expected
    assert not (small_store.store.scratch / "artifacts").exists()


def test_equal_bytes_of_two_stages_are_one_artifact_with_two_producers(small_store: SimpleNamespace) -> None:
    fill: Callable[[Path], object] = lambda folder: (folder / "weights.safetensors").write_bytes(b"weights")  # noqa: E731
    small_store.builder.stage("again", "pretrain", {"model": ("model", fill)})
    with contextlib.closing(lineage.open_index(small_store.store)) as index:
        producers = index.execute(
            "SELECT count(*) FROM producers JOIN artifacts ON id = artifact WHERE digest = ?",
            (small_store.digests["pretrain.model"],),
        )
        assert producers.fetchone()[0] == 2


def test_sixty_thousand_decisions_are_indexed(builder: SimpleNamespace) -> None:
    ids = [shards.document_id(str(number), "") for number in range(15_000)]
    common = {"source": "code", "action": "keep", "rule": "passed", "score": None, "evidence": "{}"}
    table = shards.decisions_table(
        [{"doc_id": one, "bytes_before": 9, "bytes_after": 9, **common} for one in ids]
    )
    for number in range(4):
        renamed = table.set_column(3, "rule", [[f"rule {number}"] * len(ids)])
        builder.stage(f"stage{number}", "filter", {"decisions": ("decisions", lambda folder, t=renamed: shards.write_shard(folder / "part-00000.parquet", t))})  # fmt: skip
    assert lineage.reindex(builder.store)["decisions"] == 60_000
