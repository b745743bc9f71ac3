"""Words of texts byte for byte, and the few places where a repeat of many words can be looked for.

A repeat of ``size`` words shows in the hashes of all windows of ``size`` words, but to shuffle those takes 2.2 MB for a
MB of text. So texts are sampled first. Of the shorter grams inside each window the one with the least hash is the
window's anchor; two equal windows have equal anchors, so only windows whose anchor occurs more than once need comparing.
Neighbouring windows mostly share their anchor: with 50 words a window, one word in 14 starts an anchor, and the shuffle
is 0.17 MB for a MB of prose. Nothing is missed and nothing is guessed; the anchors only say where comparing is a waste.

Hashing words takes 3 ms a MB, anchors 1 ms. A suffix array with its common prefixes (divsufsort, Kasai) takes 150 ms a MB
on the same core, and holds the whole corpus in memory several times over.

Words are separated by white space and compared byte for byte: operators in code and numbers in tables count. Scripts
that put no spaces between words have every character, with its marks, as a word.

References:
    Schleimer, Wilkerson & Aiken 2003, "Winnowing: local algorithms for document fingerprinting": least hashes of
    windows, density 2 / (w + 1), and the guarantee; Lee et al. 2021, "Deduplicating training data makes language
    models better" (arXiv 2107.06499), 4.1: repeats of at least 50 tokens; Karp & Rabin 1987: rolling hashes.
"""

from __future__ import annotations

import unicodedata
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import BYTE_TABLES, TextBatch
from millrace.data.text.folding import UNSPACED
from millrace.data.text.hashing import FNV_OFFSET, GOLDEN, fnv, golden_power, mix
from millrace.data.text.kernels import kernel

from .units import Integers, Windows

_BLOCK_BITS = 4  # the borders of unspaced scripts are multiples of 16


class Words(NamedTuple):
    """The words of some texts, one text after the other.

    Attributes:
        starts: First byte of each, in the batch's data, int64 [words].
        ends: Its end, exclusive.
        hashes: uint64 [words].
        offsets: First word of each text and the end of the last, int64 [texts + 1].
    """

    starts: Integers
    ends: Integers
    hashes: npt.NDArray[np.uint64]
    offsets: Integers


class Anchors(NamedTuple):
    """Where windows of words can meet, one text after the other.

    Attributes:
        hashes: uint64 [anchors].
        offsets: First anchor of each text and the end of the last, int64 [texts + 1].
    """

    hashes: npt.NDArray[np.uint64]
    offsets: Integers


def words(data: npt.NDArray[np.uint8], begins: Integers, ends: Integers) -> Words:
    """The words of texts.

    Args:
        data: UTF-8 bytes.
        begins: Where each text starts, int64 [texts].
        ends: Where it ends, exclusive.
    """
    return Words(*_words(data, begins, ends, BYTE_TABLES.space, unspaced_blocks(), marks()))


def count_words(batch: TextBatch, rows: Integers, most: int) -> Integers:
    """Words of some texts of a batch, counted up to ``most``, int64 [rows]."""
    counted: Integers = _count_words(
        batch.data, batch.offsets, rows, most, BYTE_TABLES.space, unspaced_blocks(), marks()
    )
    return counted


def anchors(found: Words, size: int) -> Anchors:
    """The anchors of all windows of ``size`` words, each once."""
    return Anchors(*_anchors(found.hashes, found.offsets, *_gram_and_width(size)))


def windows(found: Words, size: int, is_shared: npt.NDArray[np.bool_], first_anchors: Integers) -> Windows:
    """The windows whose anchor is shared with another place.

    Args:
        found: The words of some texts.
        size: Words per window.
        is_shared: For anchors in the order of ``anchors``.
        first_anchors: Of each text, its first place in ``is_shared``, int64 [texts].
    """
    gram, width = _gram_and_width(size)
    return Windows(*_shared_windows(found.hashes, found.offsets, gram, width, is_shared, first_anchors))


def _gram_and_width(size: int) -> tuple[int, int]:
    """Words of the grams that are sampled, and how many of them a window holds.

    Long grams keep chance repeats out, wide windows keep anchors few: half of each.
    """
    width = max(size // 2 + 1, 1)
    return size - width + 1, width


@cache
def unspaced_blocks() -> npt.NDArray[np.bool_]:
    """Whether the 16 code points of a block belong to a script without spaces, bool [131072]."""
    blocks = np.zeros(0x200000 >> _BLOCK_BITS, np.bool_)  # as far as four bytes reach
    for first, last in UNSPACED:
        blocks[first >> _BLOCK_BITS : (last >> _BLOCK_BITS) + 1] = True
    return blocks


@cache
def marks() -> npt.NDArray[np.bool_]:
    """Whether a character belongs to the one before it, as marks and joiners do, bool [0x10000]."""
    kinds = map(unicodedata.category, map(chr, range(0x10000)))
    found = np.array([kind in ("Mn", "Mc", "Me", "Cf") for kind in kinds])
    found[0x200B] = False  # the zero-width space separates
    return found


@partial(kernel, forceinline=True)
def _character(data: Any, at: Any, end: Any) -> Any:
    """The code point that starts at a byte of 0xC0 or more, and its size in bytes."""
    byte = data[at]
    point, size = np.uint32(byte & 0x1F), 2
    if byte >= 0xF0:
        point, size = np.uint32(byte & 0x07), 4
    elif byte >= 0xE0:
        point, size = np.uint32(byte & 0x0F), 3
    size = min(size, end - at)
    for more in range(1, size):
        point = (point << np.uint32(6)) | np.uint32(data[at + more] & 0x3F)
    return point, size


@partial(kernel, forceinline=True)
def _marks_end(data: Any, at: Any, end: Any, marks: Any) -> Any:
    """Where the marks end that start at a byte, if any do."""
    # Nothing that starts with E4 to E9, as most ideographs do, is a mark, nor are the kana of E3 81 and E3 83.
    while at < end and data[at] >= 0xC0 and not 0xE4 <= data[at] <= 0xE9:
        if data[at] == 0xE3 and at + 1 < end and (data[at + 1] == 0x81 or data[at + 1] == 0x83):
            break
        point, size = _character(data, at, end)
        if point >= marks.size or not marks[point]:
            break
        at += size
    return at


@kernel
def _words(data: Any, begins: Any, ends: Any, space: Any, unspaced: Any, marks: Any) -> Any:
    offsets = np.zeros(begins.size + 1, np.int64)
    total = np.int64(0)
    for row in range(begins.size):
        total += ends[row] - begins[row]
    capacity = total // 2 + begins.size  # memory that is never touched costs nothing
    starts = np.empty(capacity, np.int64)
    stops = np.empty(capacity, np.int64)
    hashes = np.empty(capacity, np.uint64)
    count = 0
    for row in range(begins.size):
        at, end = begins[row], ends[row]
        while at < end:
            if space[data[at]]:
                at += 1
                continue
            first = at
            value = FNV_OFFSET
            while at < end:
                byte = data[at]
                if byte >= 0xE0:
                    point, size = _character(data, at, end)
                    if unspaced[point >> np.uint32(_BLOCK_BITS)]:
                        if at > first:
                            break
                        value = fnv(value, point)
                        at += size
                        stop = _marks_end(data, at, end, marks)
                        while at < stop:
                            value = fnv(value, data[at])
                            at += 1
                        break
                elif space[byte]:
                    break
                value = fnv(value, byte)
                at += 1
            starts[count] = first
            stops[count] = at
            hashes[count] = mix(value)
            count += 1
        offsets[row + 1] = count
    return starts[:count], stops[:count], hashes[:count], offsets


@kernel
def _count_words(data: Any, offsets: Any, rows: Any, most: int, space: Any, unspaced: Any, marks: Any) -> Any:
    counts = np.zeros(rows.size, np.int64)
    for place in range(rows.size):
        is_inside = False
        at, end = offsets[rows[place]], offsets[rows[place] + 1]
        while at < end and counts[place] < most:
            byte = data[at]
            size, is_alone = 1, False
            if byte >= 0xE0:
                point, size = _character(data, at, end)
                is_alone = unspaced[point >> np.uint32(_BLOCK_BITS)]
            at += size
            if is_alone:
                counts[place] += 1
                is_inside = False
                at = _marks_end(data, at, end, marks)
            else:
                is_word = not space[byte]
                counts[place] += is_word and not is_inside
                is_inside = is_word
    return counts


@kernel
def _roll(hashes: Any, first: int, end: int, size: int, leaving: Any, out: Any) -> None:
    """Hashes of all runs of ``size`` words between two words into ``out``."""
    value = np.uint64(0)
    for word in range(first, end):
        value = value * GOLDEN + hashes[word]
        if word - first >= size:
            value -= leaving * hashes[word - size]
        if word - first >= size - 1:
            out[word - first - size + 1] = mix(value)


@kernel
def _least(values: Any, first: Any, end: Any) -> Any:
    """Place of the least value, the first of equals."""
    best = first
    for place in range(first + 1, end):
        if values[place] < values[best]:
            best = place
    return best


@kernel
def _longest(offsets: Any) -> Any:
    longest = np.int64(0)
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest


@kernel
def _anchors(hashes: Any, offsets: Any, gram: int, width: int) -> Any:
    grams = np.empty(_longest(offsets), np.uint64)
    leaving = golden_power(gram)
    out = np.empty(hashes.size, np.uint64)
    ends = np.zeros(offsets.size, np.int64)
    count = 0
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        _roll(hashes, first, end, gram, leaving, grams)
        best: Any = np.int64(-1)
        for place in range(end - first - gram - width + 2):
            newest = place + width - 1
            before = best
            if best < place:
                best = _least(grams, place, newest + 1)
            elif grams[newest] < grams[best]:
                best = newest
            if best != before:
                out[count] = grams[best]
                count += 1
        ends[row + 1] = count
    return out[:count], ends


@kernel
def _shared_windows(
    hashes: Any, offsets: Any, gram: int, width: int, is_shared: Any, first_anchors: Any
) -> Any:
    size = gram + width - 1
    longest = _longest(offsets)
    grams = np.empty(longest, np.uint64)
    whole = np.empty(longest, np.uint64)
    leaving, leaving_whole = golden_power(gram), golden_power(size)
    out = np.empty(hashes.size, np.uint64)
    places = np.empty(hashes.size, np.int64)
    count = 0
    for row in range(offsets.size - 1):
        first, end = offsets[row], offsets[row + 1]
        _roll(hashes, first, end, gram, leaving, grams)
        _roll(hashes, first, end, size, leaving_whole, whole)
        anchor = first_anchors[row] - 1
        best: Any = np.int64(-1)
        for place in range(end - first - size + 1):
            newest = place + width - 1
            before = best
            if best < place:
                best = _least(grams, place, newest + 1)
            elif grams[newest] < grams[best]:
                best = newest
            if best != before:
                anchor += 1
            if is_shared[anchor]:
                out[count] = whole[place]
                places[count] = first + place
                count += 1
    return out[:count], places[:count]
