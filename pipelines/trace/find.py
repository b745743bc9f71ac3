"""Which document a person means: by id, by the first digits of one, by uri, or by the end of a uri.

What is not found gets the closest that there is, and a document that only another run has names that run.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...components.contract import ComponentError
from ..row_index import UNREAD, address_range, id_range, open_rows
from .rows import artifacts_of, rows_of
from .runs import Run, Source

if TYPE_CHECKING:
    from ..row_index import RowIndex

ID_CHARACTERS = 32
SHORTEST_PREFIX = 6
HINTS = 5
HINT_ROWS = 20_000  # of each artifact are looked at for names that are like one that is not there
MOST = 1000
COLUMNS = ("doc_id", "source", "lang", "uri", "locator", "metadata")
DECISION_COLUMNS = ("doc_id", "source", "action", "rule", "bytes_after", "evidence")


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
        found = with_prefix(run, word.lower())
        if found:
            return _only(found, what)
    address, mark, locator = word.rpartition("#")
    end = f"/{word.lstrip('/')}"
    for found in (
        _at_address(run, word, lambda uri, _: uri == word),
        _at_place(run, address, locator) if mark else [],
        _at_address(run, word.lstrip("/"), lambda uri, _: uri.endswith(end))
        if len(word) >= SHORTEST_PREFIX
        else [],
    ):
        if found:
            return _only(found, what)
    raise ComponentError(_unknown(run, word))


def source_of(run: Run, doc_id: str) -> Source | None:
    """Where a document came from, or None when the run does not know it."""
    return sources_of(run, [doc_id]).get(doc_id)


def sources_of(run: Run, doc_ids: Sequence[str]) -> dict[str, Source]:
    """Where documents came from; those that the run does not know are left out."""
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
    return _matching(
        run, "ids", low, high, lambda source: source.doc_id.startswith(prefix), limit, unread_too=len(prefix) > 4
    )


def _at_address(run: Run, end: str, fits: Callable[[str, str], bool]) -> list[Source]:
    """Documents of the uris that end like this and fit."""
    low, high = address_range(end)
    return _matching(run, "addresses", low, high, lambda source: fits(source.uri, source.locator), MOST)


def _at_place(run: Run, uri: str, locator: str) -> list[Source]:
    """The record at a place of a file, whose id says so unless the source gives ids of its own."""
    from ...data.documents import document_id

    direct = source_of(run, document_id(uri, locator))
    if direct is not None and (direct.uri, direct.locator) == (uri, locator):
        return [direct]
    return _at_address(run, uri, lambda *place: place == (uri, locator))


def _matching(
    run: Run, name: str, low: int, high: int, fits: Callable[[Source], bool], limit: int, unread_too: bool = True
) -> list[Source]:
    """What fits among the rows of some keys: documents, or else records that could not be read; each id once."""
    found: dict[str, Source] = {}
    for artifact in artifacts_of(run, "documents"):
        index = artifact.index(run)
        rows = index.lookup(name, low, high, None if name == "addresses" else limit)
        read = _same_uris(index, rows, fits, limit) if name == "addresses" else index.read(rows, COLUMNS)
        for source in map(_source, read):
            if fits(source):
                found.setdefault(source.doc_id, source)
    for artifact in artifacts_of(run, "decisions") if not found and unread_too else ():
        index = artifact.index(run)
        for values in index.read(index.lookup(name, low, high, limit), DECISION_COLUMNS):
            unread = _unread(values)
            if unread is not None and fits(unread):
                found.setdefault(unread.doc_id, unread)
    return sorted(found.values(), key=lambda source: (source.uri, source.locator))[:limit]


def _same_uris(
    index: RowIndex, rows: Sequence[int], fits: Callable[[Source], bool], limit: int
) -> list[dict[str, Any]]:
    """Rows that fit, and those with the same uri right after them, which have no key of their own."""
    found: list[dict[str, Any]] = []
    uris: dict[int, str] = {}
    for values in index.read(rows, ["uri"]):
        uris[values["row"]] = values["uri"]
    for row, uri in uris.items():
        # Whether the uri fits is known before its other rows are read; with a locator one of them must.
        group, first = index.group_of_row(row)
        while group < index.groups and len(found) < limit:
            table = index.table(group, ["uri"]).slice(max(row - first, 0))
            same = 0
            for other in table["uri"].to_pylist():
                if other != uri:
                    break
                same += 1
            begin = max(row, first)
            read = index.read(range(begin, begin + same), COLUMNS)
            found += [values for values in read if fits(_source(values))][: limit - len(found)]
            if same < table.num_rows:
                break
            first += max(row - first, 0) + table.num_rows
            group += 1
    return found


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
