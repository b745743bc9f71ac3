"""Words and lines of a batch of texts, found once and shared by every rule that counts them.

One pass over the bytes does the work that rules for prose share: it splits words and lines, hashes both, counts
characters, and records the kinds of characters in each word, so that a rule reads the bytes of few words. Words are
those of ``str.split``: runs between white space, of any script. Measured on prose: 430 MB/s a core.

Lines come twice, because rules differ: ``lines`` are split at line feeds alone, ``breaks`` at all that
``str.splitlines`` splits at, without an empty one at the end.

References:
    Fowler, Noll & Vo, FNV-1a, for the hashes; equal hashes of different words have probability 2**-64 a pair.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .batch import TextBatch, from_texts
from .characters import character_tables
from .splitting import find, most
from .words_and_lines import Structure

_COLUMN_TYPES: dict[str, type[np.generic]] = {
    "word_hashes": np.uint64,
    "word_starts": np.int32,
    "word_ends": np.int32,
    "word_characters": np.int32,
    "word_kinds": np.uint8,
    "line_starts": np.int32,
    "line_ends": np.int32,
    "line_words": np.int32,
    "line_characters": np.int32,
    "line_hashes": np.uint64,
    "break_starts": np.int32,
    "break_ends": np.int32,
    "break_words": np.int32,
}

_BEHIND = np.zeros(80, np.uint8)  # bytes that the kernel may read behind a text


def structure_of(batch: TextBatch) -> Structure:
    """The words and lines of a batch."""
    documents = len(batch)
    used = batch.data[batch.offsets[0] : batch.offsets[-1]]
    most_words, most_lines, most_breaks = most(used)
    most_words += documents + 16  # starts and ends are filled in by sixteens
    sizes = {"word": most_words, "line": most_lines + documents, "break": most_breaks + documents}
    found = Structure(
        characters=np.zeros(documents, np.int64),
        first_words=np.zeros(documents + 1, np.int64),
        first_lines=np.zeros(documents + 1, np.int64),
        outer_hashes=np.zeros((documents, 2), np.uint64),
        first_breaks=np.zeros(documents + 1, np.int64),
        **_columns(sizes),
    )
    found.word_kinds[:] = 3  # ALPHABETIC and NOT_PUNCTUATION, which nearly all words are
    # ---- The kernel reads behind a text: texts that end nearly where the data does are copied first.
    safe = int(np.searchsorted(batch.offsets[1:], len(batch.data) - len(_BEHIND), "right"))
    find(character_tables(), batch.data, batch.offsets, (0, safe), found)
    if safe < documents:
        first = batch.offsets[safe]
        rest, offsets = np.append(batch.data[first : batch.offsets[-1]], _BEHIND), batch.offsets - first
        rest.flags.writeable, offsets.flags.writeable = (
            batch.data.flags.writeable,
            batch.offsets.flags.writeable,
        )  # else the kernel is compiled for them again
        find(character_tables(), rest, offsets, (safe, documents), found)
    sizes = {"word": found.first_words[-1], "line": found.first_lines[-1], "break": found.first_breaks[-1]}
    return found._replace(
        **{name: getattr(found, name)[: sizes[name.partition("_")[0]]] for name in _COLUMN_TYPES}
    )


def _columns(sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The columns of words, lines and breaks, not filled in, in one block of memory.

    The system's allocator keeps one block of some megabytes for the next batch; seven of a megabyte it gives back to
    the system, and getting them again costs more than to fill them.

    Args:
        sizes: "word", "line" or "break" -> rows.
    """
    rows = {name: sizes[name.partition("_")[0]] for name in _COLUMN_TYPES}
    lengths = {name: rows[name] * np.dtype(kind).itemsize for name, kind in _COLUMN_TYPES.items()}
    block = np.empty(sum(lengths.values()) + 8 * len(lengths), np.uint8)
    columns, at = {}, 0
    for name, length in lengths.items():
        columns[name] = block[at : at + length].view(_COLUMN_TYPES[name])
        at += -(-length // 8) * 8
    return columns


@lru_cache(maxsize=1024)
def word_hash(word: str) -> np.uint64:
    """The hash that ``word_hashes`` has for a word."""
    found = structure_of(from_texts([word]))
    if found.word_hashes.size != 1:
        raise ValueError(f"got {word!r}, expected one word without white space")
    return np.uint64(found.word_hashes[0])
