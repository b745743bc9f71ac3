"""Finding documents by what they say: a search of the shards that the sources were read into.

The text itself is not indexed: a search reads the reference corpus, 150 MB of text, in well under a second. Of a
corpus of many shards only those are read that ``text_index`` does not rule out, and no more of them once there are
enough documents to show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from millrace.pipelines.index import text_index
from millrace.pipelines.index.row_index import each

from .documents import fates
from .errors import TraceError
from .find import sources_of
from .rows import artifacts_of
from .runs import Run, Source
from .scan import Find, Matches, exactly, loosely, scan

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
    words = text.split()
    searched = _Searched(run, [exactly(text), loosely(words)], limit)
    exact, pattern = True, re.escape(text)
    count, complete, hits = searched.through(text, 0, count_all)
    if not count:
        exact, pattern = False, r"\s+".join(re.escape(word) for word in words)
        count, complete, hits = searched.through(" ".join(words), 1, count_all)
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
        match = re.search(pattern, content)
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


class _Searched:
    """The matches in each shard read so far: exactly and loosely at once, so that no shard is read twice."""

    def __init__(self, run: Run, ways: Sequence[Find], limit: int) -> None:
        self._run, self._ways, self._limit = run, ways, limit
        self._shards = _shards(run)
        self._found: dict[tuple[str, str], list[Matches]] = {}

    def through(self, text: str, way: int, count_all: bool) -> tuple[int, bool, list[tuple[str, str]]]:
        """The number of documents that match in a way, whether all were searched, and id and text of the first ones."""
        possible = [
            (digest, file)
            for digest, files in self._shards.items()
            for file in text_index.candidates(self._run.store, digest, files, text)
        ]
        count, searched = 0, 0
        hits: list[tuple[str, str]] = []
        while searched < len(possible) and (
            count_all or len(hits) < self._limit or searched < LEAST_SEARCHED
        ):
            batch = possible[searched : searched + BATCH]
            each(self._look, [shard for shard in batch if shard not in self._found])
            for shard in batch:
                matches = self._found[shard][way]
                count += matches.count
                hits += matches.first[: self._limit - len(hits)]
            searched += BATCH
        return count, searched >= len(possible), hits

    def _look(self, shard: tuple[str, str]) -> None:
        with self._run.store.open_file(*shard) as handle:
            self._found[shard] = scan(handle, self._ways, self._limit)
