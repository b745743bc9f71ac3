"""The lineage index: the facts of the store's records about runs, stages and artifacts, ready for questions.

The stage records and manifests are the truth; this SQLite file (``index.sqlite`` in the store's local scratch folder)
is a cache of them, and so are the arrays that say where a document's rows are (``row_index``). Both are brought up to
date whenever a question is asked, by reading only the stage keys that they have not seen, and may be deleted, damaged
or from another version at any time: then they are built again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from millrace.pipelines.store.errors import StoreError
from millrace.pipelines.store.maintenance import Damage
from millrace.pipelines.store.record import StageRecord
from millrace.pipelines.store.store import Store, artifact_path

from . import folders, last_write, row_index, text_index

FILE = "index.sqlite"
WAIT_SECONDS = 30.0
UNWRITABLE = ("readonly database", "unable to open database", "is full")
FINISHED = ("done", "failed", "closed", "interrupted")
SCHEMA = """
CREATE TABLE runs (run TEXT PRIMARY KEY, pipeline TEXT, status TEXT, started REAL, updated REAL) WITHOUT ROWID;
CREATE TABLE run_stages (run TEXT, position INTEGER, stage TEXT, status TEXT, key TEXT, PRIMARY KEY (run, position))
    WITHOUT ROWID;
CREATE TABLE stages (key TEXT PRIMARY KEY, stage TEXT, component TEXT, run TEXT, code TEXT, config TEXT, seed INTEGER,
    metrics TEXT, versions TEXT, started REAL, seconds REAL, adopted_from TEXT) WITHOUT ROWID;
CREATE TABLE artifacts (id INTEGER PRIMARY KEY, digest TEXT UNIQUE, kind TEXT, files INTEGER, bytes INTEGER,
    rows INTEGER);
CREATE TABLE producers (key TEXT, port TEXT, artifact INTEGER, PRIMARY KEY (key, port)) WITHOUT ROWID;
CREATE INDEX producers_artifact ON producers (artifact);
CREATE TABLE edges (key TEXT, port TEXT, label TEXT, artifact INTEGER, PRIMARY KEY (key, port, label)) WITHOUT ROWID;
CREATE INDEX edges_artifact ON edges (artifact);
CREATE TABLE examples (artifact INTEGER, file TEXT, id TEXT, doc_id TEXT, offset INTEGER,
    PRIMARY KEY (artifact, file, id)) WITHOUT ROWID;
CREATE TABLE orders (key TEXT, tokens TEXT, plan TEXT, PRIMARY KEY (key, tokens)) WITHOUT ROWID;
CREATE INDEX examples_doc_id ON examples (doc_id) WHERE doc_id IS NOT NULL;
"""
VERSION = zlib.crc32(SCHEMA.encode()) & 0x7FFFFFFF
COUNTED = {"documents": "documents", "decisions": "decisions", "tokens": "spans"}


def open_index(store: Store) -> sqlite3.Connection:
    """The store's index, up to date; build it if need be.

    Args:
        store: Any store; one whose scratch folder cannot be written gets an index in memory.

    Returns:
        A connection whose rows are ``sqlite3.Row``.

    Raises:
        StoreError: A stage record cannot be read.
    """
    path = store.scratch / FILE
    try:
        if path.is_file() and not last_write.is_as_left(path):
            _remove(path)
        return _opened(path, store)
    except sqlite3.DatabaseError as error:
        problem = str(error)
    except PermissionError:  # of a damaged file in a store that cannot be written
        return _opened(":memory:", store)
    if "locked" in problem:
        raise StoreError(
            f"{path} is being written by another process for over {WAIT_SECONDS:.0f} s; try again"
        )
    if not any(words in problem for words in UNWRITABLE):
        _remove(path)
        with contextlib.suppress(sqlite3.DatabaseError):
            return _opened(path, store)
    return _opened(":memory:", store)


def reindex(store: Store) -> dict[str, int]:
    """Builds the index again from the store's records and manifests.

    Returns:
        Table -> rows.
    """
    _remove(store.scratch / FILE)
    folders.forget(store, set())
    with contextlib.closing(open_index(store)) as index:
        for row in _rows(index, "SELECT digest FROM artifacts WHERE kind = 'documents' AND rows NOT NULL"):
            files = (store.manifest(row["digest"]) or {"files": {}})["files"]
            text_index.prepare(
                store, row["digest"], sorted(name for name in files if name.endswith(".parquet"))
            )
        counts = {
            table: index.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("runs", "stages", "artifacts", "examples")
        }
        query = "SELECT coalesce(sum(rows), 0) FROM artifacts WHERE kind = ?"
        return counts | {name: index.execute(query, (kind,)).fetchone()[0] for kind, name in COUNTED.items()}


def damage(store: Store) -> list[Damage]:
    """Reads the index and all arrays again and compares them with what was written."""
    remedy = "`millrace store reindex` makes it again; so does the next question"
    found = [Damage(str(path), problem, remedy) for path, problem in folders.damaged(store)]
    path = store.scratch / FILE
    if path.is_file() and not last_write.is_as_left(path, read=True):
        found.append(Damage(str(path), "it is not what was written", remedy))
    return found


def keep(index: sqlite3.Connection, statement: str, *values: Any) -> None:
    """Keeps a result that a question worked out, unless the index cannot be written just now."""
    index.execute("PRAGMA busy_timeout = 0")
    with contextlib.suppress(sqlite3.OperationalError):
        index.execute(statement, values)
        if file := index.execute("PRAGMA database_list").fetchone()["file"]:
            last_write.note(Path(file))
    index.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000:.0f}")


def _opened(path: Path | str, store: Store) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        has_changed = _prepare(connection)
        has_changed |= _update(connection, store)
        if has_changed and isinstance(path, Path):
            last_write.note(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> bool:
    """Makes the tables, in place of those of another version; says whether it did."""

    def current() -> bool:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] == VERSION)

    if current():
        return False
    with _transaction(connection):
        if current():
            return False
        for row in _rows(connection, "SELECT name FROM sqlite_master WHERE type = 'table'"):
            connection.execute(f"DROP TABLE {row['name']}")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    return True


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One writer at a time; all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)


def _rows(connection: sqlite3.Connection, query: str, *values: Any) -> list[sqlite3.Row]:
    return connection.execute(query, values).fetchall()


# Bringing up to date


def _update(connection: sqlite3.Connection, store: Store) -> bool:
    """Adds the store's new records and runs, and forgets those that `store gc` removed; says whether there were any."""
    keys, runs = set(store.stage_keys()), set(store.run_ids())

    def stale() -> tuple[set[str], set[str], set[str], set[str]]:
        known_keys = {row["key"] for row in _rows(connection, "SELECT key FROM stages")}
        known_runs = {row["run"]: row["status"] for row in _rows(connection, "SELECT run, status FROM runs")}
        unfinished = {run for run in runs if known_runs.get(run) not in FINISHED}
        return keys - known_keys, known_keys - keys, unfinished, known_runs.keys() - runs

    if not any(stale()):
        return False
    with _transaction(connection):
        new_keys, gone_keys, new_runs, gone_runs = stale()
        _forget(connection, gone_keys, gone_runs)
        if gone_keys:
            folders.forget(
                store, {row["digest"] for row in _rows(connection, "SELECT digest FROM artifacts")}
            )
        for key in sorted(new_keys):
            record = store.record(key)
            if record is not None:
                _add_record(connection, record)
        if new_keys:
            _add_contents(connection, store)
        for run in sorted(new_runs):
            _add_run(connection, run, store.read_run(run))
    return True


def _add_run(connection: sqlite3.Connection, run: str, state: Mapping[str, Any] | None) -> None:
    state = state or {}
    connection.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
        (
            run,
            state.get("pipeline"),
            state.get("status", "unknown"),
            state.get("started"),
            state.get("updated"),
        ),
    )
    connection.execute("DELETE FROM run_stages WHERE run = ?", (run,))
    connection.executemany(
        "INSERT INTO run_stages VALUES (?, ?, ?, ?, ?)",
        (
            (run, position, name, stage.get("status"), stage.get("key"))
            for position, (name, stage) in enumerate(state.get("stages", {}).items())
        ),
    )


def _add_record(connection: sqlite3.Connection, record: StageRecord) -> None:
    connection.execute(
        "INSERT INTO stages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.key,
            record.stage,
            record.component,
            record.run,
            record.code,
            json.dumps(record.config),
            record.seed,
            json.dumps(record.metrics),
            json.dumps(record.versions),
            record.started,
            record.seconds,
            record.adopted_from,
        ),
    )
    for port, output in record.outputs.items():
        artifact = _artifact(connection, output["digest"], output["kind"])
        connection.execute("INSERT INTO producers VALUES (?, ?, ?)", (record.key, port, artifact))
    for port, value in record.inputs.items():
        for label, digest in {"": value}.items() if isinstance(value, str) else value.items():
            artifact = _artifact(connection, digest, None)
            connection.execute("INSERT INTO edges VALUES (?, ?, ?, ?)", (record.key, port, label, artifact))


def _artifact(connection: sqlite3.Connection, digest: str, kind: str | None) -> int:
    """The number of an artifact, which is entered at its first mention."""
    connection.execute(
        "INSERT INTO artifacts (digest, kind) VALUES (?, ?) "
        "ON CONFLICT (digest) DO UPDATE SET kind = coalesce(artifacts.kind, excluded.kind)",
        (digest, kind),
    )
    row = connection.execute("SELECT id FROM artifacts WHERE digest = ?", (digest,)).fetchone()
    return int(row["id"])


def _add_contents(connection: sqlite3.Connection, store: Store) -> None:
    """Reads the manifests, and the rows of the artifacts that questions about documents need."""
    for row in _rows(connection, "SELECT id, digest FROM artifacts WHERE bytes IS NULL"):
        manifest = store.manifest(row["digest"])
        if manifest is not None:
            files = manifest["files"]
            connection.execute(
                "UPDATE artifacts SET kind = ?, files = ?, bytes = ? WHERE id = ?",
                (manifest["kind"], len(files), sum(file["bytes"] for file in files.values()), row["id"]),
            )
    # Documents count only where they enter the store: the stages after that hold the same ones or fewer.
    pending = _rows(
        connection,
        """
        SELECT id, digest, kind FROM artifacts AS made WHERE rows IS NULL AND bytes NOT NULL AND (
            kind IN ('decisions', 'tokens', 'benchmarks', 'chats', 'preferences')
            OR kind = 'documents' AND EXISTS (SELECT 1 FROM producers WHERE artifact = made.id AND NOT EXISTS (
                SELECT 1 FROM edges JOIN artifacts AS taken ON taken.id = edges.artifact
                WHERE edges.key = producers.key AND taken.kind = 'documents')))
        ORDER BY id
        """,
    )
    for row in pending:
        try:
            if row["kind"] in COUNTED:
                rows = row_index.open_rows(store, row["digest"], row["kind"]).rows
            else:
                examples = list(_examples(store, row["digest"], row["id"]))
                connection.executemany("INSERT OR IGNORE INTO examples VALUES (?, ?, ?, ?, ?)", examples)
                rows = len(examples)
        except (OSError, ValueError, KeyError) as error:
            where = f"{store.uri}/{artifact_path(row['digest'])}"
            raise StoreError(
                f"{where} cannot be read as {row['kind']} ({error}); `millrace store verify` says what is damaged"
            ) from error
        connection.execute("UPDATE artifacts SET rows = ? WHERE id = ?", (rows, row["id"]))


def _forget(connection: sqlite3.Connection, keys: Iterable[str], runs: Iterable[str]) -> None:
    for key in keys:
        for table in ("stages", "producers", "edges", "orders"):
            connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
    for run in runs:
        for table in ("runs", "run_stages"):
            connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
    if not keys:
        return
    unnamed = "(SELECT id FROM artifacts WHERE id NOT IN (SELECT artifact FROM producers UNION SELECT artifact FROM edges))"
    connection.execute(f"DELETE FROM examples WHERE artifact IN {unnamed}")
    connection.execute(f"DELETE FROM artifacts WHERE id IN {unnamed}")


def _examples(store: Store, digest: str, artifact: int) -> Iterator[tuple[Any, ...]]:
    """The place of each example of an artifact's files."""
    for name in sorted((store.manifest(digest) or {"files": {}})["files"]):
        if not name.endswith(".jsonl"):
            continue
        offset = 0
        with store.open_file(digest, name) as handle:
            for number, line in enumerate(handle):
                if line.strip():
                    value = json.loads(line)
                    shown = str(value.get("id", number))
                    yield artifact, name.removesuffix(".jsonl"), shown, value.get("doc_id"), offset
                offset += len(line)
