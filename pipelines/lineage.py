"""The lineage index: what the store's records say about runs, stages, artifacts and documents, ready for questions.

The stage records and manifests are the truth; this SQLite file (``index.sqlite`` in the store's local scratch folder)
is a cache of them. It is brought up to date whenever a question is asked, by reading only the stage keys that it has
not seen, and it may be deleted, damaged or from another version at any time: then it is built again. SQLite and not a
scan of the Parquet shards, because a question about one document would read every decision of every stage: the scan
grows with the corpus, the index answers in a millisecond. It takes some 220 bytes a decision.

Measured on two cores: 60,000 decisions are indexed in 0.4 s, the reference run (9,709 documents, 36,375 decisions) in
0.6 s; a question that finds the index up to date spends milliseconds here.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from . import evidence
from .store import StageRecord, Store, StoreError, artifact_path

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
    indexed INTEGER DEFAULT 0);
CREATE TABLE producers (key TEXT, port TEXT, artifact INTEGER, PRIMARY KEY (key, port)) WITHOUT ROWID;
CREATE INDEX producers_artifact ON producers (artifact);
CREATE TABLE edges (key TEXT, port TEXT, label TEXT, artifact INTEGER, PRIMARY KEY (key, port, label)) WITHOUT ROWID;
CREATE INDEX edges_artifact ON edges (artifact);
CREATE TABLE documents (doc_id TEXT, artifact INTEGER, source TEXT, lang TEXT, uri TEXT, locator TEXT, metadata TEXT,
    PRIMARY KEY (doc_id, artifact)) WITHOUT ROWID;
CREATE INDEX documents_uri ON documents (uri);
CREATE TABLE decisions (doc_id TEXT, artifact INTEGER, number INTEGER, source TEXT, action TEXT, rule TEXT, score REAL,
    evidence TEXT, bytes_before INTEGER, bytes_after INTEGER, PRIMARY KEY (doc_id, artifact, number)) WITHOUT ROWID;
CREATE TABLE pointers (target TEXT, artifact INTEGER, doc_id TEXT, PRIMARY KEY (target, artifact, doc_id)) WITHOUT ROWID;
CREATE TABLE spans (doc_id TEXT, artifact INTEGER, source TEXT, start INTEGER, length INTEGER,
    PRIMARY KEY (doc_id, artifact, source, start)) WITHOUT ROWID;
CREATE INDEX spans_start ON spans (artifact, source, start);
CREATE TABLE examples (artifact INTEGER, file TEXT, id TEXT, doc_id TEXT, offset INTEGER,
    PRIMARY KEY (artifact, file, id)) WITHOUT ROWID;
CREATE INDEX examples_doc_id ON examples (doc_id) WHERE doc_id IS NOT NULL;
"""
VERSION = zlib.crc32(SCHEMA.encode()) & 0x7FFFFFFF
CONTENT = {"documents": "documents", "decisions": "decisions", "tokens": "spans"} | dict.fromkeys(
    ("benchmarks", "chats", "preferences"), "examples"
)


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
        return _opened(path, store)
    except sqlite3.DatabaseError as error:
        problem = str(error)
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
    tables = ("runs", "stages", "artifacts", "documents", "decisions", "spans", "examples")
    with contextlib.closing(open_index(store)) as index:
        return {table: index.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def open_file(store: Store, digest: str, name: str) -> BinaryIO:
    """One file of an artifact, opened for reading; on an object store only what is read travels.

    Raises:
        FileNotFoundError: The store does not have it.
    """
    path = f"{artifact_path(digest)}/{name}"
    if store.is_local:
        return (store.scratch / path).open("rb")
    from .backends import RemoteBackend

    backend = cast(RemoteBackend, store.backend)
    return cast(BinaryIO, backend.fs.open(f"{backend.root}/{path}", "rb"))


def _opened(path: Path | str, store: Store) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        _prepare(connection)
        _update(connection, store)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Makes the tables, in place of those of another version."""

    def current() -> bool:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] == VERSION)

    if current():
        return
    with _transaction(connection):
        if current():
            return
        for row in _rows(connection, "SELECT name FROM sqlite_master WHERE type = 'table'"):
            connection.execute(f"DROP TABLE {row['name']}")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


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


def _update(connection: sqlite3.Connection, store: Store) -> None:
    """Adds what is new in the store and forgets what `store gc` removed."""
    keys, runs = set(store.stage_keys()), set(store.run_ids())

    def stale() -> tuple[set[str], set[str], set[str], set[str]]:
        known_keys = {row["key"] for row in _rows(connection, "SELECT key FROM stages")}
        known_runs = {row["run"]: row["status"] for row in _rows(connection, "SELECT run, status FROM runs")}
        unfinished = {run for run in runs if known_runs.get(run) not in FINISHED}
        return keys - known_keys, known_keys - keys, unfinished, known_runs.keys() - runs

    if not any(stale()):
        return
    with _transaction(connection):
        new_keys, gone_keys, new_runs, gone_runs = stale()
        _forget(connection, gone_keys, gone_runs)
        for key in sorted(new_keys):
            record = store.record(key)
            if record is not None:
                _add_record(connection, record)
        if new_keys:
            _add_contents(connection, store)
        for run in sorted(new_runs):
            _add_run(connection, run, store.read_run(run))


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
    # Of documents only those that entered the store here: the stages after them hold the same ones or fewer.
    pending = _rows(
        connection,
        """
        SELECT id, digest, kind FROM artifacts AS made WHERE NOT indexed AND bytes NOT NULL AND (
            kind IN ('decisions', 'tokens', 'benchmarks', 'chats', 'preferences')
            OR kind = 'documents' AND EXISTS (SELECT 1 FROM producers WHERE artifact = made.id AND NOT EXISTS (
                SELECT 1 FROM edges JOIN artifacts AS taken ON taken.id = edges.artifact
                WHERE edges.key = producers.key AND taken.kind = 'documents')))
        ORDER BY id
        """,
    )
    for row in pending:
        table = CONTENT[row["kind"]]
        names = sorted((store.manifest(row["digest"]) or {"files": {}})["files"])
        rows = READERS[table](store, row["digest"], row["id"], names)
        places = ", ".join("?" * len(_rows(connection, f"PRAGMA table_info({table})")))
        try:
            connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({places})", rows)
            if table == "decisions":
                connection.executemany(
                    "INSERT OR IGNORE INTO pointers VALUES (?, ?, ?)", _pointers(connection, row["id"])
                )
        except (OSError, ValueError, KeyError) as error:
            where = f"{store.uri}/{artifact_path(row['digest'])}"
            raise StoreError(
                f"{where} cannot be read as {row['kind']} ({error}); `millrace store verify` says what is damaged"
            ) from error
        connection.execute("UPDATE artifacts SET indexed = 1 WHERE id = ?", (row["id"],))


def _forget(connection: sqlite3.Connection, keys: Iterable[str], runs: Iterable[str]) -> None:
    for key in keys:
        for table in ("stages", "producers", "edges"):
            connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
    for run in runs:
        for table in ("runs", "run_stages"):
            connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
    if not keys:
        return
    unnamed = "(SELECT id FROM artifacts WHERE id NOT IN (SELECT artifact FROM producers UNION SELECT artifact FROM edges))"
    for table in (*dict.fromkeys(CONTENT.values()), "pointers"):
        connection.execute(f"DELETE FROM {table} WHERE artifact IN {unnamed}")
    connection.execute(f"DELETE FROM artifacts WHERE id IN {unnamed}")


# What is inside artifacts


def _documents(store: Store, digest: str, artifact: int, names: list[str]) -> Iterator[tuple[Any, ...]]:
    columns = ("doc_id", "source", "lang", "uri", "locator", "metadata")
    for doc_id, *rest in _parquet_rows(store, digest, _parts(names), columns):
        yield doc_id, artifact, *rest


def _decisions(store: Store, digest: str, artifact: int, names: list[str]) -> Iterator[tuple[Any, ...]]:
    columns = ("doc_id", "source", "action", "rule", "score", "evidence", "bytes_before", "bytes_after")
    for number, (doc_id, *rest) in enumerate(_parquet_rows(store, digest, _parts(names), columns)):
        yield doc_id, artifact, number, *rest


def _pointers(connection: sqlite3.Connection, artifact: int) -> Iterator[tuple[str, int, str]]:
    """What the decisions of an artifact point at; only those that changed a document do."""
    rows = _rows(
        connection,
        "SELECT doc_id, evidence FROM decisions WHERE artifact = ? AND action != 'keep' AND evidence != '{}'",
        artifact,
    )
    for row in rows:
        for target in evidence.pointers(json.loads(row["evidence"])):
            yield target, artifact, row["doc_id"]


def _spans(store: Store, digest: str, artifact: int, names: list[str]) -> Iterator[tuple[Any, ...]]:
    for name in names:
        source, _, file = name.rpartition("/")
        if file == "documents.parquet":
            for doc_id, start, length in _parquet_rows(store, digest, [name], ("doc_id", "start", "length")):
                yield doc_id, artifact, source, start, length


def _examples(store: Store, digest: str, artifact: int, names: list[str]) -> Iterator[tuple[Any, ...]]:
    for name in names:
        if not name.endswith(".jsonl"):
            continue
        offset = 0
        with open_file(store, digest, name) as handle:
            for number, line in enumerate(handle):
                if line.strip():
                    value = json.loads(line)
                    yield (
                        artifact,
                        name.removesuffix(".jsonl"),
                        str(value.get("id", number)),
                        value.get("doc_id"),
                        offset,
                    )
                offset += len(line)


def _parts(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("part-") and name.endswith(".parquet")]


def _parquet_rows(
    store: Store, digest: str, names: list[str], columns: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """The rows of an artifact's shards, one shard in memory at a time."""
    import pyarrow.parquet as pq

    for name in names:
        with open_file(store, digest, name) as handle:
            table = pq.read_table(handle, columns=list(columns))
        yield from zip(*(table.column(column).to_pylist() for column in columns), strict=True)


Reader = Callable[[Store, str, int, list[str]], Iterator[tuple[Any, ...]]]
READERS: dict[str, Reader] = {
    "documents": _documents,
    "decisions": _decisions,
    "spans": _spans,
    "examples": _examples,
}
