"""Finds the document that a person means: by id or its first digits, by uri or the end of one.

When nothing fits, the message names the closest documents, or another run that has the one that was meant.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from millrace.pipelines.index.row_index import UNREAD, address_range, id_range, open_rows

from .errors import TraceError
from .rows import artifacts_of, rows_of
from .runs import Run, Source

if TYPE_CHECKING:
    from millrace.pipelines.index.row_index import RowIndex

ID_CHARACTERS = 32
SHORTEST_PREFIX = 6
HINTS = 5
HINT_ROWS = 20_000  # rows of each artifact that are searched for a name like one that is missing
MOST = 1000
COLUMNS = ("doc_id", "source", "lang", "uri", "locator", "metadata")
DECISION_COLUMNS = ("doc_id", "source", "action", "rule", "bytes_after", "evidence")


def find_document(run: Run, what: str) -> Source:
    """The one document that a person means.

    Args:
        run: The run.
        what: An id, its first 6 digits or more, a uri, ``URI#LOCATOR``, or the end of a uri from a ``/`` on.

    Raises:
        TraceError: No document or several fit; the message names the closest.
    """
    word = what.strip()
    if _is_hex(word) and len(word) >= SHORTEST_PREFIX:
        found = with_prefix(run, word.lower())
        if found:
            return _only(found, what)
    address, mark, locator = word.rpartition("#")
    end = f"/{word.lstrip('/')}"
    for found in (
        at_address(run, word, lambda uri: uri == word),
        _at_place(run, address, locator) if mark else [],
        at_address(run, word.lstrip("/"), lambda uri: uri.endswith(end))
        if len(word) >= SHORTEST_PREFIX
        else [],
    ):
        if found:
            return _only(found, what)
    raise TraceError(_unknown(run, word))


def source_of(run: Run, doc_id: str) -> Source | None:
    """The source of a document, or None when the run does not know it."""
    return sources_of(run, [doc_id]).get(doc_id)


def sources_of(run: Run, doc_ids: Sequence[str]) -> dict[str, Source]:
    """The sources of documents; those that the run does not know are left out."""
    found: dict[str, Source] = {}
    for rows in rows_of(run, "documents", doc_ids, COLUMNS).values():
        found.setdefault(rows[0].values["doc_id"], _source(rows[0].values))
    missing = [doc_id for doc_id in doc_ids if doc_id not in found]
    for rows in rows_of(run, "decisions", missing, DECISION_COLUMNS).values():
        for source in filter(None, (_unread(row.values) for row in rows)):
            found.setdefault(source.doc_id, source)
    return found


def with_prefix(run: Run, prefix: str, limit: int = MOST) -> list[Source]:
    """The documents, and records that could not be read, whose id starts with these digits."""
    low, high = id_range(prefix)

    def look(index: RowIndex) -> list[int]:
        return index.lookup("ids", low, high, limit)

    return _matching(run, look, look, lambda source: source.doc_id.startswith(prefix), limit)


def at_address(run: Run, end: str, fits: Callable[[str], bool], locator: str | None = None) -> list[Source]:
    """The documents, and records that could not be read, of uris that end like this and fit, at any locator or one."""
    low, high = address_range(end)
    return _matching(
        run,
        lambda index: _rows_of_uris(index, index.lookup("addresses", low, high), fits, locator),
        lambda index: index.lookup("addresses", low, high, MOST),
        lambda source: fits(source.uri) and locator in (None, source.locator),
        MOST,
    )


def _at_place(run: Run, uri: str, locator: str) -> list[Source]:
    """The record at a place of a file, whose id says so unless the source gives ids of its own."""
    from millrace.data.documents.shards import document_id

    direct = source_of(run, document_id(uri, locator))
    if direct is not None and (direct.uri, direct.locator) == (uri, locator):
        return [direct]
    return at_address(run, uri, lambda other: other == uri, locator)


def _matching(
    run: Run,
    documents: Callable[[RowIndex], list[int]],
    decisions: Callable[[RowIndex], list[int]],
    fits: Callable[[Source], bool],
    limit: int,
) -> list[Source]:
    """The documents that fit among some rows, or else the records that could not be read; each id once."""
    found: dict[str, Source] = {}
    for artifact in artifacts_of(run, "documents"):
        index = artifact.index(run)
        for source in map(_source, index.read(documents(index), COLUMNS)):
            if fits(source):
                found.setdefault(source.doc_id, source)
    for artifact in artifacts_of(run, "decisions") if not found else ():
        index = artifact.index(run)
        for values in index.read(decisions(index), DECISION_COLUMNS):
            unread = _unread(values)
            if unread is not None and fits(unread):
                found.setdefault(unread.doc_id, unread)
    return sorted(found.values(), key=lambda source: (source.uri, source.locator))[:limit]


def _rows_of_uris(
    index: RowIndex, rows: Sequence[int], fits: Callable[[str], bool], locator: str | None
) -> list[int]:
    """The rows whose uri fits: those given, and those with the same uri right after them, which have no key."""
    found: list[int] = []
    starts: dict[int, list[int]] = {}
    for row in rows:
        starts.setdefault(index.group_of_row(row), []).append(row)
    open_uri: str | None = None
    for group in range(index.groups):
        if len(found) >= MOST or (group not in starts and open_uri is None):
            continue
        first = index.first_row(group)
        table = index.table(group, ["uri", "locator"])
        uris, locators = table["uri"].to_pylist(), table["locator"].to_pylist()
        begins = [row - first for row in starts.get(group, [])]
        begins += [0] if uris[0] == open_uri and 0 not in begins else []
        open_uri = None
        for begin in begins:
            uri, at = uris[begin], begin
            while fits(uri) and at < len(uris) and uris[at] == uri:
                if locator is None or locators[at] == locator:
                    found.append(first + at)
                at += 1
            open_uri = uri if at == len(uris) else open_uri
    return found[:MOST]


def _source(values: Mapping[str, Any]) -> Source:
    metadata = json.loads(values["metadata"] or "{}")
    place = (values["doc_id"], values["uri"], values["locator"] or "", values["source"])
    return Source(*place, values["lang"], metadata)


def _unread(values: Mapping[str, Any]) -> Source | None:
    """The record that a decision says could not be read, or None."""
    if values["action"] != "drop" or values["bytes_after"] or values["rule"] not in UNREAD:
        return None
    found = json.loads(values["evidence"] or "{}")
    if not isinstance(found.get("uri"), str):
        return None
    return Source(values["doc_id"], found["uri"], found.get("locator") or "", values["source"])


def _only(found: Sequence[Source], what: str) -> Source:
    if len(found) == 1:
        return found[0]
    lines = [f"  {item.doc_id[:12]}  {_address(item)}" for item in found[:HINTS]]
    more = [f"  and {len(found) - HINTS} more"] if len(found) > HINTS else []
    raise TraceError(
        "\n".join([f"got {what!r}, which {len(found)} documents fit, expected one of:", *lines, *more])
    )


def _unknown(run: Run, word: str) -> str:
    """The message about a document that the run does not have: another run that has it, or the closest ones."""
    head = f"the run {run.run} has no document {word!r}"
    if _is_hex(word) and len(word) >= SHORTEST_PREFIX:
        other = _other_run(run, word.lower())
        if other is not None:
            return f"{head}; the run {other} has: add --run {other}"
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


def _other_run(run: Run, prefix: str) -> str | None:
    """The newest run of the store that has a document whose id starts with these digits."""
    rows = run.rows(
        """
        SELECT DISTINCT run_stages.run, digest FROM artifacts JOIN producers ON artifact = artifacts.id
        JOIN run_stages USING (key) WHERE kind = 'documents' AND rows NOT NULL ORDER BY run_stages.run DESC
        """
    )
    for row in rows:
        index = open_rows(run.store, row["digest"], "documents")
        found = index.read(index.lookup("ids", *id_range(prefix), MOST), ["doc_id"])
        if any(values["doc_id"].startswith(prefix) for values in found):
            return str(row["run"])
    return None


def _nearest_ids(run: Run, word: str) -> list[str]:
    """Ids that share the longest beginning with a word."""
    for length in range(min(len(word), ID_CHARACTERS) - 1, 1, -1):
        found = with_prefix(run, word[:length], 3)
        if found:
            return [source.doc_id[:12] for source in found]
    return []


def _nearest_addresses(run: Run, word: str) -> list[Source]:
    """Documents whose file's name is like that of the word, among the first of each artifact."""
    name = word.rpartition("#")[0] or word
    name = name.rstrip("/").rpartition("/")[2].lower()
    known: list[Source] = []
    for artifact in artifacts_of(run, "documents"):
        index = artifact.index(run)
        known += map(_source, index.read(range(min(index.rows, HINT_ROWS)), COLUMNS))
    found = [source for source in known if name in source.uri.lower()]
    if not found:
        by_name = {source.uri.rpartition("/")[2]: source for source in known}
        near = difflib.get_close_matches(name, sorted(by_name), n=HINTS, cutoff=0.6)
        found = [by_name[one] for one in near]
    return found[:HINTS]


def _address(item: Source) -> str:
    return f"{item.uri}#{item.locator}" if item.locator else item.uri


def _is_hex(word: str) -> bool:
    return 0 < len(word) <= ID_CHARACTERS and all(
        character in "0123456789abcdef" for character in word.lower()
    )
