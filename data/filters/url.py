"""Rules over a document's URL: blocked domains, words, parts of words and patterns.

One compiled pass over the URLs; they are some 80 bytes beside texts of thousands, so the cost is negligible. Lists are
the user's: none is built in, because good ones are large, change weekly and have licences of their own.

References:
    Penedo et al. 2023, "The RefinedWeb Dataset for Falcon LLM", arXiv 2306.01116, appendix G.1: blocked domains, and
    words in URLs in three strengths (a part of a word, a word, two "soft" words). Penedo et al. 2024, "The FineWeb
    Datasets", arXiv 2406.17557, section 3: the same lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch, hashes, to_arrow
from millrace.data.text.hashing import FNV_OFFSET, fnv
from millrace.data.text.kernels import kernel

from .lists import hash_table

VALUES = ("blocked_domains", "blocked_words", "soft_words", "blocked_parts", "blocked_patterns")
_BYTES = np.arange(256)
# Byte -> itself in lower case where it belongs to a word of a URL, 0 elsewhere; bytes beyond ASCII are letters.
_WORD_TABLE = np.where(
    ((_BYTES >= 48) & (_BYTES <= 57)) | ((_BYTES >= 97) & (_BYTES <= 122)) | (_BYTES >= 128),
    _BYTES,
    np.where((_BYTES >= 65) & (_BYTES <= 90), _BYTES + 32, 0),
).astype(np.uint8)


class UrlLists(NamedTuple):
    """Lists ready to be looked up; each table is one of ``lists.hash_table``.

    Attributes:
        domains: Hashes of domains, from their last byte to their first.
        words: Hashes of words.
        soft_words: Hashes of words that count only together.
        parts: Hashes of substrings.
        part_lengths: Their different lengths, int64 [lengths].
        pattern: Regular expressions of RE2 as one, or empty.
    """

    domains: npt.NDArray[np.uint64]
    words: npt.NDArray[np.uint64]
    soft_words: npt.NDArray[np.uint64]
    parts: npt.NDArray[np.uint64]
    part_lengths: npt.NDArray[np.int64]
    pattern: str


def compile_lists(
    domains: Sequence[str] = (),
    words: Sequence[str] = (),
    soft_words: Sequence[str] = (),
    parts: Sequence[str] = (),
    patterns: Sequence[str] = (),
) -> UrlLists:
    """Makes lists ready.

    Args:
        domains: ``example.com`` is itself and every domain below it; a leading ``*.`` or ``www.`` says nothing.
        words: Words, runs of letters and digits, in any case.
        soft_words: Words of which ``measure`` counts the distinct ones.
        parts: Looked for in the URL without everything but letters and digits, in any case.
        patterns: Regular expressions of RE2, found anywhere in the URL as it is.

    Raises:
        ValueError: An entry without a letter or digit, a word of several words, or a pattern that RE2 cannot compile.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for pattern in patterns:
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            raise ValueError(f"got the pattern {pattern!r} ({error}), expected RE2's syntax") from None
    spelt = [_plain(part, keep_dots=False) for part in parts]
    for word in (*words, *soft_words):
        if len(_plain(word, keep_dots=False)) != len(word.encode()):
            raise ValueError(f"got {word!r}, expected one word of letters and digits; put others under parts")
    return UrlLists(
        hash_table(_hashes([_plain(domain, keep_dots=True)[::-1] for domain in domains])),
        hash_table(_hashes([_plain(word, keep_dots=False) for word in words])),
        hash_table(_hashes([_plain(word, keep_dots=False) for word in soft_words])),
        hash_table(_hashes(spelt)),
        np.array(sorted({len(part) for part in spelt}), np.int64),
        "|".join(f"(?:{pattern})" for pattern in patterns),
    )


def measure(urls: TextBatch, lists: UrlLists) -> dict[str, np.ndarray]:
    """The entries of the lists found in each URL.

    Args:
        urls: One URL per document, empty where there is none. Only a URL with a scheme (``https://``) or a leading
            ``//`` has a domain; words, parts and patterns are looked for in any string.
        lists: The lists.

    Returns:
        Each name of ``VALUES`` -> float64 [documents]: 1 or 0 for domains and patterns, the number of different soft
        words, and the numbers of occurrences of words and parts.
    """
    import pyarrow.compute as pc

    values = np.zeros((len(VALUES), len(urls)))
    _measure(
        _WORD_TABLE,
        urls.data,
        urls.offsets,
        lists.domains,
        lists.words,
        lists.soft_words,
        lists.parts,
        lists.part_lengths,
        values,
    )
    if lists.pattern and len(urls):
        values[4] = pc.match_substring_regex(to_arrow(urls), lists.pattern).to_numpy(zero_copy_only=False)
    return dict(zip(VALUES, values, strict=True))


def _plain(entry: str, *, keep_dots: bool) -> bytes:
    """An entry as it is compared: a domain in lower case and in IDNA, or the letters and digits of anything else."""
    if keep_dots:
        host = entry.strip().lower().split("://")[-1].split("/")[0].removeprefix("*.").strip(".")
        host = host.removeprefix("www.")
        found = host.encode() if host.isascii() else host.encode("idna")
    else:
        folded = _WORD_TABLE[np.frombuffer(entry.encode(), np.uint8)]
        found = folded[folded != 0].tobytes()
    if not found:
        raise ValueError(f"got the list entry {entry!r}, expected at least one letter or digit in it")
    return found


def _hashes(entries: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    data = np.frombuffer(b"".join(entries), np.uint8)
    return hashes(TextBatch(data, np.cumsum([0, *(len(entry) for entry in entries)], dtype=np.int64)))


@kernel
def _contains(table: Any, value: Any) -> bool:
    wanted = max(value, np.uint64(1))
    mask = np.uint64(table.size - 1)
    at = wanted & mask
    while table[at] != 0 and table[at] != wanted:
        at = (at + np.uint64(1)) & mask
    return bool(table[at] == wanted)


@kernel
def _host(data: Any, start: int, end: int) -> Any:
    """Where the host of a URL starts and ends; empty when it has none."""
    at = start
    while at < end and data[at] != 47 and data[at] != 63 and data[at] != 35:  # / ? #
        at += 1
    if at + 1 >= end or data[at] != 47 or data[at + 1] != 47 or (at > start and data[at - 1] != 58):
        return start, start
    first = last = at + 2
    while last < end and data[last] != 47 and data[last] != 63 and data[last] != 35:
        if data[last] == 64:  # a user's name precedes the @
            first = last + 1
        last += 1
    for port in range(first, last):
        if data[port] == 58:
            last = port
            break
    while last > first and data[last - 1] == 46:
        last -= 1
    return first, last


@kernel
def _measure(
    table: Any,
    data: Any,
    offsets: Any,
    domains: Any,
    words: Any,
    soft_words: Any,
    parts: Any,
    part_lengths: Any,
    values: Any,
) -> None:
    longest = 1
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    letters = np.empty(longest, np.uint8)
    softs = np.empty(longest, np.uint64)
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        first, last = _host(data, start, end)
        value = FNV_OFFSET
        for at in range(last - 1, first - 1, -1):
            byte = data[at]
            value = fnv(value, byte + 32 if 65 <= byte <= 90 else byte)
            if (at == first or data[at - 1] == 46) and _contains(domains, value):
                values[0, row] = 1
        size = different = 0
        at = start
        while at < end:
            value = FNV_OFFSET
            before = size
            while at < end and table[data[at]] != 0:
                letters[size] = table[data[at]]
                value = fnv(value, letters[size])
                size += 1
                at += 1
            if size > before:
                values[1, row] += _contains(words, value)
                if _contains(soft_words, value):
                    known = False
                    for index in range(different):
                        known |= softs[index] == value
                    if not known:
                        softs[different] = value
                        different += 1
            at += 1
        values[2, row] = different
        for length in part_lengths:
            for at in range(size - length + 1):
                value = FNV_OFFSET
                for index in range(at, at + length):
                    value = fnv(value, letters[index])
                values[3, row] += _contains(parts, value)
