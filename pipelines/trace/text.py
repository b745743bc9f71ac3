"""Finding documents by what they say: a search of the shards that the sources were read into.

The text itself is not indexed: Arrow's compiled search reads the reference corpus, 150 MB of text, in well under a
second. Of a corpus of many shards only those are read that ``text_index`` does not rule out, and no more of them once
there are enough documents to show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .. import text_index
from ..row_index import each
from .documents import fates
from .errors import TraceError
from .find import sources_of
from .rows import artifacts_of
from .runs import Run, Source

AROUND_CHARACTERS = 60
SHORTEST_CHARACTERS = 3
BATCH = 8
LEAST_SEARCHED = (
    16  # shards that are searched even when there are enough documents: a small corpus is always counted
)


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
        documents: How many documents contain it, of those that were searched.
        complete: Whether all were searched, so that ``documents`` is the number and not the least.
        found: The first of them, in the order of the shards.
    """

    text: str
    exact: bool
    documents: int
    complete: bool
    found: tuple[Found, ...]


def search(run: Run, text: str, limit: int, *, count_all: bool = False) -> Search:
    """Finds the documents that contain a text, among all that the run's sources gave.

    Args:
        run: The run.
        text: What to look for, case and all; when it is nowhere as given, white space is taken loosely.
        limit: How many documents to show.
        count_all: Search everything, for the exact number, however many documents have been found.

    Raises:
        TraceError: The text is too short to mean anything, or nothing contains it.
    """
    if len(text.strip()) < SHORTEST_CHARACTERS:
        raise TraceError(f"got {text!r}, expected a text of at least {SHORTEST_CHARACTERS} characters")
    shards = _shards(run)
    exact, pattern = True, text
    count, complete, hits = _scan(run, shards, text, pattern, False, limit, count_all)
    if not count:
        words = text.split()
        exact, pattern = False, r"\s+".join(re.escape(word) for word in words)
        count, complete, hits = _scan(run, shards, " ".join(words), pattern, True, limit, count_all)
    if not count:
        raise TraceError(
            f"no document of the run {run.run} contains {text!r}, however its white space is read; "
            "try a shorter part of it, spelled as in the file"
        )
    fate = fates(run, [doc_id for doc_id, _ in hits])
    found = []
    sources = sources_of(run, [doc_id for doc_id, _ in hits])
    for doc_id, content in hits:
        document = sources.get(doc_id)
        match = re.search(re.escape(text) if exact else pattern, content)
        if document is not None and match is not None:
            excerpt = _excerpt(content, match.start(), match.end())
            found.append(Found(document, excerpt, match.start(), fate[doc_id]))
    return Search(text, exact, count, complete, tuple(found))


def _excerpt(content: str, start: int, end: int) -> str:
    first, last = max(start - AROUND_CHARACTERS, 0), min(end + AROUND_CHARACTERS, len(content))
    return ("… " if first else "") + content[first:last] + (" …" if last < len(content) else "")


def _shards(run: Run) -> dict[str, list[str]]:
    """Artifact -> the shards that the sources were read into."""
    shards = {}
    for artifact in artifacts_of(run, "documents"):
        manifest = run.store.manifest(artifact.digest)
        if manifest is None:
            raise TraceError(
                f"the store no longer has the documents {artifact.digest[:12]} of the run {run.run}; "
                "`millrace run` makes them again"
            )
        shards[artifact.digest] = sorted(name for name in manifest["files"] if name.endswith(".parquet"))
    return shards


def _scan(
    run: Run,
    shards: dict[str, list[str]],
    text: str,
    pattern: str,
    is_regex: bool,
    limit: int,
    count_all: bool,
) -> tuple[int, bool, list[tuple[str, str]]]:
    """How many documents match, whether all were searched, and id and text of the first ones, in the order of the shards."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    matches: Any = pc.match_substring_regex if is_regex else pc.match_substring

    def look(shard: tuple[str, str]) -> tuple[int, list[tuple[str, str]]]:
        # A thread of Arrow's that reads ahead may still let go of this file when the process ends, which aborts it.
        with run.store.open_file(*shard) as handle:
            table = pq.read_table(handle, columns=["doc_id", "text"], use_threads=False, pre_buffer=False)
        # Not Arrow's `indices_nonzero`: it crashes on the column of a shard without rows, which has no chunk.
        rows = np.flatnonzero(matches(table["text"], pattern).to_numpy())
        first = table.take(rows[:limit])
        return len(rows), list(zip(first["doc_id"].to_pylist(), first["text"].to_pylist(), strict=True))

    possible = [
        (digest, file)
        for digest, files in shards.items()
        for file in text_index.candidates(run.store, digest, files, text)
    ]
    count, searched = 0, 0
    hits: list[tuple[str, str]] = []
    while searched < len(possible) and (count_all or len(hits) < limit or searched < LEAST_SEARCHED):
        for number, found in each(look, possible[searched : searched + BATCH]):
            count += number
            hits += found[: limit - len(hits)]
        searched += BATCH
    return count, searched >= len(possible), hits
