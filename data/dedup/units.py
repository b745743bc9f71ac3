"""Lines, paragraphs and sentences of a batch of texts, each with a 64-bit hash of its normal form.

The normal form is CCNet's: lower case, accents and punctuation off, every digit 0, white space collapsed; marks that
spell stay (data/text/folding.py). It is never written out: one kernel walks the UTF-8 bytes, looks each character up in
a table and hashes the result, at some 250 MB/s a core in any script.

A sentence ends after ``.``, ``!`` or ``?`` (closing quotes and brackets included) before white space, after their
full-width forms, and at a line break. That cuts at "Mr." too, which does no harm here: equal texts are cut equally.

References:
    Wenzek et al. 2020, "CCNet" (arXiv 1911.00359), 3.1: normal form, paragraphs as lines; Raffel et al. 2020,
    "Exploring the limits of transfer learning" (arXiv 1910.10683), 2.2: spans of three sentences; Fowler, Noll & Vo:
    FNV-1a; Steele et al. 2014: the mixing constants (SplitMix64).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.folding import is_ignored, is_mark, is_unspaced
from millrace.data.text.hashing import FNV_OFFSET, GOLDEN, fnv, mix
from millrace.data.text.kernels import kernel

Kind = Literal["lines", "paragraphs", "sentences"]
_KINDS = {"lines": 0, "paragraphs": 1, "sentences": 2}

Integers = npt.NDArray[np.int64]

# A folded character is its code point, 0 for what does not count (punctuation, accents), 32 for white space.
_UNSPACED = np.uint32(1 << 31)  # a word by itself, in scripts that put no spaces between words
_ENDS = np.uint32(1 << 30)  # ends a sentence before white space
_ENDS_ALWAYS = np.uint32(1 << 29)  # ends a sentence whatever follows
_CLOSES = np.uint32(1 << 28)  # quotes and brackets after an end belong to the sentence
_MARK = np.uint32(1 << 27)  # belongs to a word by itself before it
_SEVERAL = np.uint32(1 << 26)  # a place among the sequences of letters, each ended by a 0
_POINT = np.uint32((1 << 21) - 1)

_TABLE_POINTS = 0x20000  # beyond are ideographs, which fold to themselves, and code points nobody uses


class Units(NamedTuple):
    """The pieces of some texts that are compared, one text after the other.

    Attributes:
        starts: First byte of each, in the batch's data, int64 [units].
        ends: Its end, exclusive; white space around a piece is not part of it.
        hashes: Of the normal form, uint64 [units].
        words: Words of the normal form, at least 1, int64 [units].
        characters: Characters that count in the normal form, without white space, int64 [units].
        offsets: First unit of each text and the end of the last, int64 [texts + 1].
    """

    starts: Integers
    ends: Integers
    hashes: npt.NDArray[np.uint64]
    words: Integers
    characters: Integers
    offsets: Integers


class Windows(NamedTuple):
    """Runs of consecutive units of one text that are compared as a whole.

    Attributes:
        hashes: uint64 [windows].
        places: The first unit of each, int64 [windows].
    """

    hashes: npt.NDArray[np.uint64]
    places: Integers


def units(data: npt.NDArray[np.uint8], begins: Integers, ends: Integers, kind: Kind) -> Units:
    """Cuts texts into lines, paragraphs or sentences that have at least one word.

    Args:
        data: UTF-8 bytes.
        begins: Where each text starts, int64 [texts].
        ends: Where it ends, exclusive.
        kind: Kind of unit.
    """
    table, sequences = fold_tables()
    plain = np.where((table[:256] > 32) & (table[:256] <= _POINT), table[:256], 0).astype(np.uint8)
    plain[128:] = 0
    return Units(*_units(data, begins, ends, _KINDS[kind], table, sequences, plain))


def windows(found: Units, size: int, min_words: int, min_characters: int) -> Windows:
    """Every run of ``size`` consecutive units of a text that is long enough to count.

    Args:
        found: The units.
        size: Units per window.
        min_words: Windows with fewer words do not count.
        min_characters: Windows with fewer characters do not count.
    """
    return Windows(
        *_windows(found.hashes, found.words, found.characters, found.offsets, size, min_words, min_characters)
    )


@cache
def fold_tables() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The folded form of each code point below 0x20000, and sequences of letters, uint32; takes 0.2 s to make."""
    table = []
    sequences = [0]
    for point in range(_TABLE_POINTS):
        parts = _folded(chr(point))
        table.append(parts[0] if len(parts) == 1 else int(_SEVERAL) + len(sequences))
        if len(parts) > 1:
            sequences += [*parts, 0]
    for characters, flag in ((".!?…", _ENDS), ("。！？｡", _ENDS_ALWAYS), ("\"')]}’”»」』）", _CLOSES)):  # noqa: RUF001
        for character in characters:
            table[ord(character)] |= int(flag)
    return np.array(table, np.uint32), np.array(sequences, np.uint32)


def _folded(character: str) -> list[int]:
    """The folded form of a character: one letter with its flags, or those of its canonical decomposition."""
    if character.isspace():
        return [32]
    category = unicodedata.category(character)
    if category == "Nd":
        return [ord("0") | _flag(character)]
    if category[0] in "PC" or (category[0] == "M" and not is_mark(character)):
        return [0]
    lower = character.lower()
    if len(lower) > 1:
        return [ord(character)]
    parts = unicodedata.normalize("NFKD", lower)
    if len(parts) == 1:
        return [ord(parts if parts.isalnum() else lower) | _flag(character)]
    if not parts[0].isalnum() or not all(map(is_ignored, parts[1:])):
        parts = unicodedata.normalize("NFD", lower)
        if not parts[0].isalnum() and not is_mark(parts[0]):
            parts = lower  # a symbol
    return [ord(part) | (_flag(part) or _flag(character)) for part in parts if not is_ignored(part)]


def _flag(character: str) -> int:
    if not is_unspaced(character):
        return 0
    return int(_MARK if is_mark(character) else _UNSPACED)


@kernel
def _units(data: Any, begins: Any, ends: Any, kind: int, table: Any, sequences: Any, plain: Any) -> Any:
    offsets = np.zeros(begins.size + 1, np.int64)
    total = np.int64(0)
    for row in range(begins.size):
        total += ends[row] - begins[row]
    capacity = total // 2 + begins.size  # memory that is never touched costs nothing
    starts = np.empty(capacity, np.int64)
    stops = np.empty(capacity, np.int64)
    hashes = np.empty(capacity, np.uint64)
    words = np.empty(capacity, np.int64)
    characters = np.empty(capacity, np.int64)
    count = 0
    for row in range(begins.size):
        at, end = begins[row], ends[row]
        first, last = np.int64(-1), np.int64(-1)  # the unit's visible bytes
        value, unit_words, unit_characters = FNV_OFFSET, 0, 0
        gap, is_blank, has_ended, has_ended_always = True, True, False, False
        is_alone = False  # whether a character that is a word by itself may go on
        while at <= end:
            if at < end and plain[data[at]] and not has_ended_always:
                # Most bytes are ASCII letters inside of words; what follows this branch does the same for any character.
                if first < 0:
                    first = at
                if gap:
                    if unit_words:
                        value = fnv(value, 32)
                    unit_words += 1
                    gap = False
                begin = at
                while at < end:
                    letter8 = plain[data[at]]
                    if letter8 == 0:
                        break
                    value = fnv(value, letter8)
                    at += 1
                unit_characters += at - begin
                last = at
                is_blank, has_ended, is_alone = False, False, False
                if at < end and data[at] == 32:
                    gap = True
                    at += 1
                continue
            is_over = at == end
            size = 1
            folded = np.uint32(32)
            byte = np.uint8(10)
            if not is_over:
                byte = data[at]
                if byte < 128:
                    folded = table[byte]
                else:
                    point = np.uint32(byte)
                    if byte >= 0xF0:
                        size = 4
                        point &= np.uint32(0x07)
                    elif byte >= 0xE0:
                        size = 3
                        point &= np.uint32(0x0F)
                    else:
                        size = 2
                        point &= np.uint32(0x1F)
                    size = min(size, end - at)
                    for more in range(1, size):
                        point = (point << np.uint32(6)) | np.uint32(data[at + more] & 0x3F)
                    folded = table[point] if point < _TABLE_POINTS else point | _UNSPACED
            rest: Any = 0
            if folded & _SEVERAL:
                rest = np.int64(folded & _POINT)
                folded = sequences[rest]
            letter = folded & _POINT
            closes = is_over
            if byte == 10:
                closes = closes or kind != 1 or is_blank
                is_blank = True
            if kind == 2:
                if letter == 32:
                    closes = closes or has_ended or has_ended_always
                elif folded & _ENDS_ALWAYS:
                    has_ended_always = True
                elif folded & _ENDS:
                    has_ended = True
                elif not folded & _CLOSES:
                    closes = closes or has_ended_always
                    has_ended = False
            if closes:
                if unit_words:
                    starts[count] = first
                    stops[count] = last
                    hashes[count] = mix(value)
                    words[count] = unit_words
                    characters[count] = unit_characters
                    count += 1
                first, last = np.int64(-1), np.int64(-1)
                value, unit_words, unit_characters = FNV_OFFSET, 0, 0
                gap, has_ended, has_ended_always = True, False, False
                is_alone = False
            if letter == 32:
                gap, is_alone = True, False
            elif letter != 0:
                unit_characters += 1
            while letter > 32:
                if folded & _UNSPACED:
                    unit_words += 1
                    gap, is_alone = True, True
                elif not (folded & _MARK and is_alone):
                    is_alone = False
                    if gap:
                        if unit_words:
                            value = fnv(value, 32)
                        unit_words += 1
                        gap = False
                value = fnv(value, letter)
                if rest == 0:
                    break
                rest += 1
                folded = sequences[rest]
                letter = folded & _POINT
            if byte != 32 and not 9 <= byte <= 13:
                is_blank = False
                if first < 0:
                    first = at
                last = at + size
            at += size
        offsets[row + 1] = count
    return starts[:count], stops[:count], hashes[:count], words[:count], characters[:count], offsets


@kernel
def _windows(
    hashes: Any, words: Any, characters: Any, offsets: Any, size: int, min_words: int, min_characters: int
) -> Any:
    out = np.empty(hashes.size, np.uint64)
    places = np.empty(hashes.size, np.int64)
    count = 0
    for row in range(offsets.size - 1):
        for place in range(offsets[row], offsets[row + 1] - size + 1):
            value = np.uint64(0)
            window_words, window_characters = 0, 0
            for unit in range(place, place + size):
                value = mix(value * GOLDEN + hashes[unit])
                window_words += words[unit]
                window_characters += characters[unit]
            if window_words >= min_words and window_characters >= min_characters:
                out[count] = value
                places[count] = place
                count += 1
    return out[:count], places[:count]
