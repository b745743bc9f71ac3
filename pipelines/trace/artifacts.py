"""Tracing artifacts: who made one, from what up to the sources, and what was made from it down to packages.

The graph is that of content: two stages that made the same bytes made one artifact, so an artifact may have several
makers. The newest run's is followed, and all are listed.
"""

from __future__ import annotations

import json
import sqlite3
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millrace.pipelines.store.store import Store

from .errors import TraceError

HINTS = 5
STAGES_SHOWN = 3
MAKERS = """
SELECT stages.*, producers.port, artifacts.digest, artifacts.kind FROM producers
JOIN stages USING (key) JOIN artifacts ON artifacts.id = producers.artifact
"""


@dataclass(frozen=True)
class Maker:
    """A stage key that made the artifact.

    Attributes:
        stage: The stage's name.
        port: The output port.
        component: What it uses.
        run: The run that made it.
        key: The stage key.
        code: Digest of the code.
        seed: The spec's seed.
        config: The semantic configuration.
        metrics: Result metrics.
        versions: Distribution -> version.
        started: Seconds since the epoch.
        seconds: Wall time.
        adopted_from: The stage key whose outputs were accepted for changed code, or None.
    """

    stage: str
    port: str
    component: str
    run: str
    key: str
    code: str
    seed: int
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    versions: Mapping[str, str]
    started: float
    seconds: float
    adopted_from: str | None


@dataclass(frozen=True)
class Relative:
    """An artifact in the tree above or below.

    Attributes:
        digest: Its digest.
        kind: Its kind.
        stage: The stage that made it.
        port: That stage's output port.
        run: The run that made it.
        via: The input port (and label) that ties it to its parent in the tree.
        children: What follows; empty where ``repeated``.
        repeated: Whether the tree has shown this artifact already.
    """

    digest: str
    kind: str
    stage: str
    port: str
    run: str
    via: str
    children: tuple[Relative, ...] = ()
    repeated: bool = False


@dataclass(frozen=True)
class ArtifactTrace:
    """Everything about one artifact.

    Attributes:
        digest: Its digest.
        kind: Its kind.
        files: Relative path -> bytes.
        bytes: Size of all files.
        folder: Where it is, or None when the store no longer has it.
        makers: Stage keys that made it, newest first; from its manifest when no record names it.
        inputs: What it was made from, up to the sources.
        uses: What was made from it, down to packages and reports.
    """

    digest: str
    kind: str
    files: Mapping[str, int]
    bytes: int
    folder: str | None
    makers: tuple[Maker, ...]
    inputs: tuple[Relative, ...] = field(default=())
    uses: tuple[Relative, ...] = field(default=())


def artifact(store: Store, index: sqlite3.Connection, prefix: str) -> ArtifactTrace:
    """Traces the artifact whose digest starts with these digits.

    Raises:
        TraceError: None or several do.
    """
    digest = _find(store, index, prefix.strip().lower())
    manifest = store.manifest(digest)
    files = {name: file["bytes"] for name, file in (manifest or {"files": {}})["files"].items()}
    makers = tuple(_maker(row) for row in _newest(index, digest))
    if makers:
        inputs = _inputs(index, makers[0].key, set())
    elif manifest is not None:
        makers = (_maker_of_manifest(manifest["producer"]),)
        inputs = tuple(
            _relative(index, given, via, set(), upwards=True)
            for via, given in _given(manifest["producer"]["inputs"])
        )
    else:
        inputs = ()
    kind = (
        manifest["kind"]
        if manifest
        else index.execute("SELECT kind FROM artifacts WHERE digest = ?", (digest,)).fetchone()["kind"]
    )
    return ArtifactTrace(
        digest=digest,
        kind=kind,
        files=files,
        bytes=sum(files.values()),
        folder=str(store.folder(digest)) if manifest and store.is_local else None,
        makers=makers,
        inputs=inputs,
        uses=_uses(index, digest, {digest}),
    )


def _find(store: Store, index: sqlite3.Connection, prefix: str) -> str:
    if len(prefix) < 4 or not set(prefix) <= set(string.hexdigits):
        raise TraceError(
            f"got {prefix!r}, expected the first 4 digits or more of an artifact; see `millrace store ls`"
        )
    rows = index.execute(
        "SELECT digest FROM artifacts WHERE digest >= ? AND digest < ?", (prefix, f"{prefix}g")
    ).fetchall()
    found = sorted({row["digest"] for row in rows} | set(store.find(prefix)))
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(digest[:16] for digest in found[:HINTS])
        raise TraceError(f"got {prefix!r}, which {len(found)} artifacts start with, expected one of {shown}")
    near: Sequence[Any] = ()
    for length in range(len(prefix) - 1, 1, -1):
        near = index.execute(
            "SELECT digest FROM artifacts WHERE digest >= ? AND digest < ? LIMIT 3",
            (prefix[:length], f"{prefix[:length]}g"),
        ).fetchall()
        if near:
            break
    hint = f"; closest: {', '.join(row['digest'][:12] for row in near)}" if near else ""
    raise TraceError(
        f"the store {store.uri} has no artifact {prefix!r}{hint}; `millrace store ls` lists them"
    )


def _newest(index: sqlite3.Connection, digest: str) -> list[sqlite3.Row]:
    return index.execute(
        f"{MAKERS} WHERE artifacts.digest = ? ORDER BY stages.started DESC, key", (digest,)
    ).fetchall()


def _maker(row: sqlite3.Row) -> Maker:
    values = {name: row[name] for name in Maker.__dataclass_fields__}
    return Maker(
        **{**values, **{name: json.loads(values[name]) for name in ("config", "metrics", "versions")}}
    )


def _maker_of_manifest(producer: Mapping[str, Any]) -> Maker:
    """The maker that the manifest names: the stage was killed before its record was written."""
    names = ("stage", "port", "component", "run", "key", "code", "seed", "config", "metrics", "versions")
    return Maker(**{name: producer[name] for name in names}, started=0.0, seconds=0.0, adopted_from=None)


def _given(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for port, value in inputs.items():
        labelled = {"": value} if isinstance(value, str) else value
        pairs += [(f"{port}.{label}" if label else port, digest) for label, digest in labelled.items()]
    return pairs


def _inputs(index: sqlite3.Connection, key: str, seen: set[str]) -> tuple[Relative, ...]:
    """The inputs of a stage key, each with its own inputs below it."""
    rows = index.execute(
        "SELECT port, label, digest FROM edges JOIN artifacts ON artifacts.id = artifact WHERE key = ? ORDER BY port, label",
        (key,),
    ).fetchall()
    return tuple(
        _relative(
            index,
            row["digest"],
            f"{row['port']}.{row['label']}" if row["label"] else row["port"],
            seen,
            upwards=True,
        )
        for row in rows
    )


def _uses(index: sqlite3.Connection, digest: str, seen: set[str]) -> tuple[Relative, ...]:
    """The artifacts made from one, newest first, each with those made from it below it."""
    keys = index.execute(
        """
        SELECT DISTINCT key, edges.port, label, started FROM edges JOIN stages USING (key)
        JOIN artifacts ON artifacts.id = artifact WHERE digest = ? ORDER BY started DESC, key
        """,
        (digest,),
    ).fetchall()
    found = []
    for key in keys:
        via = f"{key['port']}.{key['label']}" if key["label"] else key["port"]
        for made in index.execute(
            f"{MAKERS} WHERE producers.key = ? ORDER BY producers.port", (key["key"],)
        ).fetchall():
            found.append(_relative(index, made["digest"], via, seen, upwards=False, row=made))
    return tuple(found)


def _relative(
    index: sqlite3.Connection,
    digest: str,
    via: str,
    seen: set[str],
    *,
    upwards: bool,
    row: sqlite3.Row | None = None,
) -> Relative:
    if row is None:
        row = next(iter(_newest(index, digest)), None)
    if row is None:
        return Relative(digest, "unknown", "unknown", "", "", via)
    values = {
        "digest": digest,
        "kind": row["kind"],
        "stage": row["stage"],
        "port": row["port"],
        "run": row["run"],
        "via": via,
    }
    if digest in seen:
        return Relative(**values, repeated=True)
    seen.add(digest)
    children = _inputs(index, row["key"], seen) if upwards else _uses(index, digest, seen)
    return Relative(**values, children=children)
