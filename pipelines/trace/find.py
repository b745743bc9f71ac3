"""Which document a person means: by id, by the first digits of one, by uri, or by the end of a uri.

What is not found gets the closest that there is, and a document that only another run has names that run.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from ...components.contract import ComponentError
from .runs import Run, Source

ID_CHARACTERS = 32
SHORTEST_PREFIX = 6
HINTS = 5


def find_document(run: Run, what: str) -> str:
    """The id of the one document that a person means.

    Args:
        run: The run.
        what: An id, its first 6 digits or more, a uri, ``URI#LOCATOR``, or the end of a uri from a ``/`` on.

    Raises:
        ComponentError: No document or several fit; the message names the closest.
    """
    word = what.strip()
    if _is_hex(word) and len(word) >= SHORTEST_PREFIX:
        prefix = word.lower()
        found = sources_where(run, "doc_id >= ? AND doc_id < ?", prefix, f"{prefix}g")
        if found:
            return _only(found, what)
    for condition, values in _address_conditions(word):
        found = sources_where(run, condition, *values)
        if found:
            return _only(found, what)
    raise ComponentError(_unknown(run, word))


def source_of(run: Run, doc_id: str) -> Source | None:
    """Where a document came from, or None when the run does not know it."""
    found = sources_where(run, "doc_id = ?", doc_id)
    return found[0] if found else None


def sources_where(run: Run, condition: str, *values: Any) -> list[Source]:
    """Documents, and records that could not be read, that fulfil a condition; each id once."""
    found: dict[str, Source] = {}
    rows = run.rows(
        f"SELECT documents.* FROM documents JOIN scope USING (artifact) WHERE {condition} ORDER BY position, uri, locator LIMIT 1000",
        *values,
    )
    for row in rows:
        metadata = json.loads(row["metadata"] or "{}")
        found.setdefault(
            row["doc_id"],
            Source(row["doc_id"], row["uri"], row["locator"] or "", row["source"], row["lang"], metadata),
        )
    if not found:
        rows = run.rows(
            f"""
            SELECT * FROM (SELECT doc_id, source, artifact, json_extract(evidence, '$.uri') AS uri,
                coalesce(json_extract(evidence, '$.locator'), '') AS locator
                FROM decisions WHERE action = 'drop' AND bytes_after = 0 AND rule IN ('malformed', 'empty'))
            JOIN scope USING (artifact) WHERE uri NOT NULL AND {condition} ORDER BY position, uri, locator LIMIT 1000
            """,
            *values,
        )
        for row in rows:
            found.setdefault(row["doc_id"], Source(row["doc_id"], row["uri"], row["locator"], row["source"]))
    return list(found.values())


def _address_conditions(word: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "uri = ?", (word,)
    address, mark, locator = word.rpartition("#")
    if mark:
        yield "uri = ? AND locator = ?", (address, locator)
    if len(word) >= SHORTEST_PREFIX:
        yield "substr(uri, -length(?)) = ?", (f"/{word.lstrip('/')}",) * 2


def _only(found: Sequence[Source], what: str) -> str:
    if len(found) == 1:
        return found[0].doc_id
    lines = [f"  {item.doc_id[:12]}  {_address(item)}" for item in found[:HINTS]]
    more = [f"  and {len(found) - HINTS} more"] if len(found) > HINTS else []
    raise ComponentError(
        "\n".join([f"got {what!r}, which {len(found)} documents fit, expected one of:", *lines, *more])
    )


def _unknown(run: Run, word: str) -> str:
    """What to say of a document that the run does not have: where else it is, or what is closest."""
    head = f"the run {run.run} has no document {word!r}"
    if _is_hex(word) and len(word) >= SHORTEST_PREFIX:
        others = run.rows(
            """
            SELECT DISTINCT run_stages.run FROM documents JOIN producers USING (artifact) JOIN run_stages USING (key)
            WHERE doc_id >= ? AND doc_id < ? ORDER BY run_stages.run DESC LIMIT 1
            """,
            word.lower(),
            f"{word.lower()}g",
        )
        if others:
            return f"{head}; the run {others[0]['run']} has: add --run {others[0]['run']}"
        ids = ", ".join(_nearest_ids(run, word.lower()))
        return f"{head}, expected an id, its first digits, or a uri; closest: {ids or 'none, it has no documents'}"
    if _is_hex(word):
        return f"got {word!r}, expected at least {SHORTEST_PREFIX} digits of an id, or a uri"
    near = _nearest_addresses(run, word)
    lines = [f"  {item.doc_id[:12]}  {_address(item)}" for item in near]
    return "\n".join(
        [
            f"{head}; `millrace trace text` finds documents by what they say"
            + (", closest:" if near else ""),
            *lines,
        ]
    )


def _nearest_ids(run: Run, word: str) -> list[str]:
    """Ids that share the longest beginning with a word."""
    for length in range(min(len(word), ID_CHARACTERS) - 1, 1, -1):
        rows = run.rows(
            "SELECT DISTINCT doc_id FROM documents JOIN scope USING (artifact) WHERE doc_id >= ? AND doc_id < ? LIMIT 3",
            word[:length],
            f"{word[:length]}g",
        )
        if rows:
            return [row["doc_id"][:12] for row in rows]
    return []


def _nearest_addresses(run: Run, word: str) -> list[Source]:
    """Documents whose file's name is like that of the word."""
    name = word.rpartition("#")[0] or word
    name = name.rstrip("/").rpartition("/")[2]
    found = sources_where(run, "instr(lower(uri), lower(?)) > 0", name)
    if not found:
        rows = run.rows("SELECT DISTINCT uri FROM documents JOIN scope USING (artifact)")
        names = {row["uri"].rpartition("/")[2] for row in rows}
        for near in difflib.get_close_matches(name, sorted(names), n=HINTS, cutoff=0.6):
            found += sources_where(run, "substr(uri, -length(?)) = ?", near, near)
    return found[:HINTS]


def _address(item: Source) -> str:
    return f"{item.uri}#{item.locator}" if item.locator else item.uri


def _is_hex(word: str) -> bool:
    return 0 < len(word) <= ID_CHARACTERS and all(
        character in "0123456789abcdef" for character in word.lower()
    )
