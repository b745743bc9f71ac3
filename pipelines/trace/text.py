"""Finding documents by what they say: a search of the shards that the sources were read into.

The text is not indexed: a full-text index would be as large as the corpus and would have to be built before the first
question, while Arrow's compiled search reads the reference corpus, 150 MB of text, in well under a second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ...components.contract import ComponentError
from .. import lineage
from .documents import fates
from .find import source_of
from .runs import Run, Source

AROUND_CHARACTERS = 60
SHORTEST_CHARACTERS = 3


@dataclass(frozen=True)
class Found:
    """A document that contains the text.

    Attributes:
        document: Where it came from.
        excerpt: The first match and what stands around it, with ``…`` where it is cut.
        position: Where the match begins, in characters of the document.
        fate: What became of the document in the run.
    """

    document: Source
    excerpt: str
    position: int
    fate: str


@dataclass(frozen=True)
class Search:
    """The answer to a search.

    Attributes:
        text: What was searched for.
        exact: Whether the text stands there as given; else any white space matched any white space.
        documents: How many documents contain it.
        found: The first of them, in the order of the shards.
    """

    text: str
    exact: bool
    documents: int
    found: tuple[Found, ...]


def search(run: Run, text: str, limit: int) -> Search:
    """Finds the documents that contain a text, among all that the run's sources gave.

    Args:
        run: The run.
        text: What to look for, case and all; when it is nowhere as given, white space is taken loosely.
        limit: How many documents to show; all are counted.

    Raises:
        ComponentError: The text is too short to mean anything, or nothing contains it.
    """
    if len(text.strip()) < SHORTEST_CHARACTERS:
        raise ComponentError(f"got {text!r}, expected a text of at least {SHORTEST_CHARACTERS} characters")
    shards = _shards(run)
    exact, pattern = True, text
    count, hits = _scan(run, shards, pattern, False, limit)
    if not count:
        exact, pattern = False, r"\s+".join(re.escape(word) for word in text.split())
        count, hits = _scan(run, shards, pattern, True, limit)
    if not count:
        raise ComponentError(
            f"no document of the run {run.run} contains {text!r}, however its white space is read; "
            "try a shorter part of it, spelled as in the file"
        )
    fate = fates(run, [doc_id for doc_id, _ in hits])
    found = []
    for doc_id, content in hits:
        document = source_of(run, doc_id)
        match = re.search(re.escape(text) if exact else pattern, content)
        if document is not None and match is not None:
            excerpt = _excerpt(content, match.start(), match.end())
            found.append(Found(document, excerpt, match.start(), fate[doc_id]))
    return Search(text, exact, count, tuple(found))


def _excerpt(content: str, start: int, end: int) -> str:
    first, last = max(start - AROUND_CHARACTERS, 0), min(end + AROUND_CHARACTERS, len(content))
    return ("… " if first else "") + content[first:last] + (" …" if last < len(content) else "")


def _shards(run: Run) -> list[tuple[str, str]]:
    """Artifact and file of every shard that the sources were read into."""
    rows = run.rows(
        """
        SELECT DISTINCT digest, position, port FROM scope JOIN artifacts ON artifacts.id = artifact
        WHERE scope.kind = 'documents' AND indexed ORDER BY position, port
        """
    )
    shards: dict[tuple[str, str], None] = {}
    for row in rows:
        manifest = run.store.manifest(row["digest"])
        if manifest is None:
            raise ComponentError(
                f"the store no longer has the documents {row['digest'][:12]} of the run {run.run}; "
                "`millrace run` makes them again"
            )
        shards |= dict.fromkeys(
            (row["digest"], name) for name in sorted(manifest["files"]) if name.endswith(".parquet")
        )
    return list(shards)


def _scan(
    run: Run, shards: list[tuple[str, str]], pattern: str, is_regex: bool, limit: int
) -> tuple[int, list[tuple[str, str]]]:
    """How many documents match, and id and text of the first ones, in the order of the shards."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    matches: Any = pc.match_substring_regex if is_regex else pc.match_substring

    def look(shard: tuple[str, str]) -> tuple[int, list[tuple[str, str]]]:
        with lineage.open_file(run.store, *shard) as handle:
            table = pq.read_table(handle, columns=["doc_id", "text"], use_threads=False)
        kept = table.filter(matches(table["text"], pattern))
        first = kept.slice(0, limit)
        return kept.num_rows, list(zip(first["doc_id"].to_pylist(), first["text"].to_pylist(), strict=True))

    count = 0
    hits: list[tuple[str, str]] = []
    for number, found in _in_order(look, shards):
        count += number
        hits += found[: limit - len(hits)]
    return count, hits


def _in_order(work: Any, items: list[Any]) -> Iterator[Any]:
    """Results in the order of the items; Arrow frees the GIL, so threads use all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(work, items)
