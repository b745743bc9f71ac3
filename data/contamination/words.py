"""Hashes the words of texts to 64 bits, to compare documents and benchmark examples.

Words are folded as in ``data/text/folding.py``, marks with their letters; apostrophes are ignored and underscores
separate, so that ``don't`` and ``dont``, ``has_close_elements`` and ``has close elements`` are the same.

Words are found 64 bytes at a time: a test of 64 bytes (letter? digit?) gives the bits of one number, and words are its
runs of ones. Words of ASCII letters and digits are hashed sixteen bytes at a time, with the bit set that turns capitals
into small letters; runs with other bytes are folded character by character into a buffer first, where the same word has
the same bytes. On prose this takes half the time of hashing byte by byte.

References:
    Langdale & Lemire 2019, "Parsing Gigabytes of JSON per Second", arXiv 1902.08318, section 3.1: answers as bits, and
    carries of a sum that find the ends of runs.
    Wang Yi, wyhash, https://github.com/wangyi-fudan/wyhash, for hashing sixteen bytes by one folded product.
    Steele et al. 2014, "Fast splittable pseudorandom number generators" (SplitMix64): the constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.folding import IGNORED, SEPARATOR, Folds, fold_tables
from millrace.data.text.hashing import GOLDEN, MIX_FIRST
from millrace.data.text.kernels import kernel
from millrace.data.text.simd import (
    bytes_between,
    count_bits,
    hash_bytes,
    lowered_between,
    settled,
    write_places,
)

_APOSTROPHES = (0x27, 0xB4, 0x2BC, 0x2018, 0x2019, 0x201B, 0xFF07)
_SMALL = np.uint64(0x2020202020202020)  # set in small ASCII letters and digits, not in capitals
_BEHIND = 80  # bytes that kernels may read behind a text

Integers = npt.NDArray[np.int64]


class Words(NamedTuple):
    """The words of some texts, one text after the other.

    Attributes:
        hashes: uint64 [words]; odd for a character that is a word of its own, with its marks.
        starts: First byte of each word in its text, int64 [words].
        ends: Its end, exclusive.
        offsets: First word of each text and the end of the last, int64 [texts + 1].
    """

    hashes: npt.NDArray[np.uint64]
    starts: Integers
    ends: Integers
    offsets: Integers


class Hashed(NamedTuple):
    """The words of some texts without their places.

    Attributes:
        hashes: uint64 [words], as in ``Words``.
        offsets: First word of each text and the end of the last, int64 [texts + 1].
    """

    hashes: npt.NDArray[np.uint64]
    offsets: Integers


@lru_cache(maxsize=1)
def _folds() -> Folds:
    """``fold_tables`` with apostrophes ignored and underscores between words."""
    table, sequences = fold_tables()
    table = table.copy()
    table[ord("_")] = SEPARATOR
    table[list(_APOSTROPHES)] = IGNORED
    return Folds(table, sequences)


def words(batch: TextBatch) -> Words:
    """All words of some texts."""
    most = _most(batch)
    hashed, starts, ends = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64)
    firsts = np.zeros(len(batch) + 1, np.int64)
    for data, offsets, rows in _readable(batch):
        _words(data, offsets, rows, _folds(), hashed, starts, ends, firsts)
    count = int(firsts[-1])
    return Words(hashed[:count].copy(), starts[:count].copy(), ends[:count].copy(), firsts)


def hashes(batch: TextBatch) -> Hashed:
    """All words of some texts, without their places."""
    hashed, firsts = np.empty(_most(batch), np.uint64), np.zeros(len(batch) + 1, np.int64)
    for data, offsets, rows in _readable(batch):
        _words(data, offsets, rows, _folds(), hashed, None, None, firsts)
    return Hashed(hashed[: int(firsts[-1])], firsts)


def _most(batch: TextBatch) -> int:
    """At most how many words some texts have: separators are between them, or they are characters of three bytes."""
    return int(batch.offsets[-1] - batch.offsets[0]) // 2 + 2 * len(batch) + 2


def _readable(batch: TextBatch) -> Iterator[tuple[npt.NDArray[np.uint8], Integers, tuple[int, int]]]:
    """Bytes, offsets and rows of a batch such that more bytes follow those rows: texts that end nearly where the data
    does are copied."""
    rows = len(batch)
    safe = int(np.searchsorted(batch.offsets[1:], batch.data.size - _BEHIND, "right"))
    if safe:
        yield batch.data, batch.offsets, (0, safe)
    if safe < rows:
        first = batch.offsets[safe]
        data = np.append(batch.data[first : batch.offsets[-1]], np.zeros(_BEHIND, np.uint8))
        offsets = batch.offsets - first
        # Else the kernel is compiled for them again.
        data.flags.writeable, offsets.flags.writeable = (
            batch.data.flags.writeable,
            batch.offsets.flags.writeable,
        )
        yield data, offsets, (safe, rows)


@kernel
def _alone(point: Any) -> Any:
    """The hash of a character that is a word of its own."""
    value = (point + np.uint64(1)) * GOLDEN
    value = (value ^ (value >> np.uint64(30))) * MIX_FIRST
    return value ^ (value >> np.uint64(27)) | np.uint64(1)


@kernel
def _runs(data: Any, begin: int, end: int, starts: Any, ends: Any, odds: Any) -> Any:
    """Finds the runs of ASCII letters and digits, apostrophes and bytes beyond ASCII in a text.

    Args:
        data: The bytes, 80 of them behind the text.
        begin: Where the text starts.
        end: Where the text ends.
        starts: Filled in with where runs start in the text; sixteen more than there are.
        ends: Filled in with where they end.
        odds: Filled in with the runs that have more than ASCII letters and digits.

    Returns:
        The numbers of runs and of odd ones.
    """
    one = np.uint64(1)
    opened = closed = odd_count = 0
    before = np.uint64(0)  # whether a run reaches into the block
    pending = np.uint64(0)  # whether it is odd
    for at in range(begin, end, 64):
        special = settled(bytes_between(data, at, 128, 255) | bytes_between(data, at, 39, 39))
        run = special | settled(lowered_between(data, at, 97, 122) | bytes_between(data, at, 48, 57))
        if at + 64 > end:
            run &= ~np.uint64(0) >> np.uint64(at + 64 - end)
            special &= run
        after = run << one | before
        openings, closings = run & ~after, ~run & after
        write_places(openings, starts, opened, at - begin)
        write_places(closings, ends, closed, at - begin)
        # ---- Odd runs: a bit added anywhere to a run of bits is carried to the run's end.
        odd = special | pending
        carried = run + odd
        ended = carried & closings
        pending = np.uint64(carried < odd)
        while ended:
            lowest = ended & (~ended + one)
            odds[np.uint64(odd_count)] = closed + count_bits(closings & (lowest - one))
            odd_count += 1
            ended ^= lowest
        opened += count_bits(openings)
        closed += count_bits(closings)
        before = run >> np.uint64(63)
    if closed < opened:
        ends[closed] = end - begin
        if pending:
            odds[odd_count] = closed
            odd_count += 1
    return opened, odd_count


@kernel
def _odd_words(
    data: Any, begin: int, start: int, end: int, folds: Any, folded: Any, hashes: Any, starts: Any, ends: Any
) -> int:
    """Writes the words of a run with other characters than ASCII letters and digits, and returns how many they are.

    Args:
        data: The bytes.
        begin: Where the text starts.
        start: Where the run starts.
        end: Where the run ends.
        folds: Folded form of each character.
        folded: Room for four bytes for each of the run's, and 80.
        hashes: Filled in.
        starts: Filled in with where words start in the text, or None.
        ends: Filled in with where they end, or None.
    """
    table, sequences = folds
    count = size = 0
    rest: Any = 0  # place of the rest of a sequence
    is_alone: Any = False  # whether a character that is a word of its own may go on
    at = word = start
    while at < end:
        point, width = np.int64(data[at]), 1
        if point >= 0x80:
            width = 2 if point < 0xE0 else 3 if point < 0xF0 else 4
            if at + width > end:
                break  # cut within a character, which is no UTF-8
            if width == 2:
                point = (point & 0x1F) << 6 | (data[at + 1] & 0x3F)
            elif width == 3:
                point = (point & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | (data[at + 2] & 0x3F)
            else:
                point = (
                    (point & 0x07) << 18
                    | (np.int64(data[at + 1]) & 0x3F) << 12
                    | (np.int64(data[at + 2]) & 0x3F) << 6
                    | (data[at + 3] & 0x3F)
                )
        meaning = np.int64(table[point]) if point < table.size else 0
        if meaning == -1:
            at += width
            continue
        rest = 0
        if meaning >= 0x4000000:  # one of several letters
            rest = meaning & 0x1FFFFF
            meaning = np.int64(sequences[rest])
        while True:
            if meaning & 0x2000000 and is_alone:  # a mark of the character before it
                hashes[count - 1] = _alone(hashes[count - 1] ^ np.uint64(meaning))
                if starts is not None:
                    ends[count - 1] = at + width - begin
            elif 0 < meaning < 0x1000000 or meaning & 0x2000000:  # a letter, as UTF-8
                is_alone = False
                meaning &= 0x1FFFFF
                if size == 0:
                    word = at
                if meaning < 0x80:
                    folded[size] = meaning
                    size += 1
                elif meaning < 0x800:
                    folded[size] = 0xC0 | meaning >> 6
                    folded[size + 1] = 0x80 | meaning & 0x3F
                    size += 2
                else:
                    # Four bytes also for those of three: enough to tell characters apart.
                    folded[size] = 0xF0 | meaning >> 18
                    folded[size + 1] = 0x80 | meaning >> 12 & 0x3F
                    folded[size + 2] = 0x80 | meaning >> 6 & 0x3F
                    folded[size + 3] = 0x80 | meaning & 0x3F
                    size += 4
            else:
                if size:
                    hashes[count] = hash_bytes(folded, 0, np.uint64(size), np.uint64(0)) & ~np.uint64(1)
                    if starts is not None:
                        starts[count], ends[count] = word - begin, at - begin
                    count += 1
                    size = 0
                is_alone = meaning > 0
                if is_alone:
                    hashes[count] = _alone(np.uint64(meaning))
                    if starts is not None:
                        starts[count], ends[count] = at - begin, at + width - begin
                    count += 1
            if rest == 0:
                break
            rest += 1
            meaning = np.int64(sequences[rest])
            if meaning == 0:
                break
        at += width
    if size:
        hashes[count] = hash_bytes(folded, 0, np.uint64(size), np.uint64(0)) & ~np.uint64(1)
        if starts is not None:
            starts[count], ends[count] = word - begin, end - begin
        count += 1
    return count


@kernel
def _words(
    data: Any, offsets: Any, rows: Any, folds: Any, hashes: Any, starts: Any, ends: Any, firsts: Any
) -> None:
    """Writes the words of some rows behind those of the rows before; ``starts`` and ``ends`` may be None."""
    longest = np.int64(0)
    for row in range(rows[0], rows[1]):
        longest = max(longest, np.int64(offsets[row + 1] - offsets[row]))
    run_starts = np.empty(longest // 2 + 18, np.int32)
    run_ends = np.empty(longest // 2 + 18, np.int32)
    odds = np.empty(longest // 2 + 2, np.int32)
    folded = np.empty(4 * longest + 80, np.uint8)
    count = np.int64(firsts[rows[0]])
    for row in range(rows[0], rows[1]):
        begin = offsets[row]
        runs, odd_count = _runs(data, begin, offsets[row + 1], run_starts, run_ends, odds)
        run = 0
        for index in range(odd_count + 1):
            # ---- Plain words up to an odd run, or to the last.
            stop = runs if index == odd_count else int(odds[index])
            for own in range(np.uint64(run), np.uint64(stop)):
                start, length = begin + run_starts[own], np.uint64(run_ends[own] - run_starts[own])
                hashes[count] = hash_bytes(data, start, length, _SMALL) & ~np.uint64(1)
                if starts is not None:
                    starts[count], ends[count] = run_starts[own], run_ends[own]
                count += 1
            if index < odd_count:
                start, end = begin + run_starts[stop], begin + run_ends[stop]
                if starts is None:
                    count += _odd_words(data, begin, start, end, folds, folded, hashes[count:], None, None)
                else:
                    count += _odd_words(
                        data, begin, start, end, folds, folded, hashes[count:], starts[count:], ends[count:]
                    )
                run = stop + 1
        firsts[row + 1] = count
