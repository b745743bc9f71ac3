"""Words and lines of a batch of texts, found once and shared by every rule that counts them.

One pass over the bytes does what rules for prose have in common: it splits words and lines, hashes both, counts
characters, and notes of each word which kinds of characters it has, so that a rule looks into the bytes of few words.
Words are what ``str.split`` gives: runs between white space, of any script. Measured on prose: 230 MB/s a core.

Lines come twice, because rules differ: ``lines`` are split at line feeds alone, ``breaks`` at all that
``str.splitlines`` splits at, without an empty one at the end.

References:
    Fowler, Noll & Vo, FNV-1a, for the hashes; equal hashes of different words have probability 2**-64 a pair.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..kernels import kernel
from .batch import TextBatch
from .characters import CharacterTables, character_tables

_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a, 64 bits
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio
_SPACE, _BREAK, _NOT_ASCII, _WORD = (
    256,
    512,
    128,
    255,
)  # of characters.py; kernels take no constants of other files


class Structure(NamedTuple):
    """The words and lines of a batch. Places are bytes within their text, ends exclusive.

    Attributes:
        characters: Of each text, int64 [documents].
        first_words: First word of each text and the end of the last, int64 [documents + 1].
        word_hashes: uint64 [words].
        word_starts: int32 [words].
        word_ends: int32 [words].
        word_characters: int32 [words].
        word_kinds: Sums of the constants of ``characters`` below 256: what any of a word's characters is, uint8 [words].
        first_lines: First line of each text and the end of the last, int64 [documents + 1].
        line_starts: int32 [lines].
        line_ends: int32 [lines].
        line_words: Words in each line, int32 [lines]; a line without is blank.
        line_characters: int32 [lines], white space included.
        line_hashes: Of all of a line's bytes, uint64 [lines].
        outer_hashes: Hash of a text's first line with words without the white space before them, and of the last
            without what follows them, uint64 [documents, 2].
        first_breaks: First break of each text and the end of the last, int64 [documents + 1].
        break_starts: int32 [breaks].
        break_ends: int32 [breaks].
        break_words: First word of each break, counted from the text's first, int32 [breaks].
    """

    characters: np.ndarray
    first_words: np.ndarray
    word_hashes: np.ndarray
    word_starts: np.ndarray
    word_ends: np.ndarray
    word_characters: np.ndarray
    word_kinds: np.ndarray
    first_lines: np.ndarray
    line_starts: np.ndarray
    line_ends: np.ndarray
    line_words: np.ndarray
    line_characters: np.ndarray
    line_hashes: np.ndarray
    outer_hashes: np.ndarray
    first_breaks: np.ndarray
    break_starts: np.ndarray
    break_ends: np.ndarray
    break_words: np.ndarray


def structure_of(batch: TextBatch) -> Structure:
    """The words and lines of a batch."""
    documents = len(batch)
    used = batch.data[batch.offsets[0] : batch.offsets[-1]]
    most_words = used.size // 2 + documents + 1  # a word needs a byte and the space before it
    most_lines, most_breaks = _line_bounds(used)
    found = Structure(
        characters=np.zeros(documents, np.int64),
        first_words=np.zeros(documents + 1, np.int64),
        word_hashes=np.empty(most_words, np.uint64),
        word_starts=np.empty(most_words, np.int32),
        word_ends=np.empty(most_words, np.int32),
        word_characters=np.empty(most_words, np.int32),
        word_kinds=np.empty(most_words, np.uint8),
        first_lines=np.zeros(documents + 1, np.int64),
        line_starts=np.empty(most_lines + documents, np.int32),
        line_ends=np.empty(most_lines + documents, np.int32),
        line_words=np.empty(most_lines + documents, np.int32),
        line_characters=np.empty(most_lines + documents, np.int32),
        line_hashes=np.empty(most_lines + documents, np.uint64),
        outer_hashes=np.zeros((documents, 2), np.uint64),
        first_breaks=np.zeros(documents + 1, np.int64),
        break_starts=np.empty(most_breaks + documents, np.int32),
        break_ends=np.empty(most_breaks + documents, np.int32),
        break_words=np.empty(most_breaks + documents, np.int32),
    )
    _find(character_tables(), batch.data, batch.offsets, found)
    words, lines, breaks = found.first_words[-1], found.first_lines[-1], found.first_breaks[-1]
    limits = {"word": words, "line": lines, "break": breaks}
    return Structure(
        *(
            column[: limits[name.partition("_")[0]]] if name.partition("_")[0] in limits else column
            for name, column in found._asdict().items()
        )
    )


@lru_cache(maxsize=1024)
def word_hash(word: str) -> np.uint64:
    """The hash that ``word_hashes`` has for a word."""
    found = structure_of(TextBatch(np.frombuffer(word.encode(), np.uint8), np.array([0, len(word.encode())])))
    if found.word_hashes.size != 1:
        raise ValueError(f"got {word!r}, expected one word without white space")
    return np.uint64(found.word_hashes[0])


@kernel
def _line_bounds(data: np.ndarray) -> tuple[int, int]:
    """At most how many lines and breaks end in some bytes; bytes that may begin a rarer break count."""
    lines = rarer = 0
    for byte in data:
        lines += byte == 10
        rarer += (byte >= 11) & (byte <= 13) | (byte >= 28) & (byte <= 30) | (byte == 0xC2) | (byte == 0xE2)
    return lines, lines + rarer


@kernel
def _decode(data: np.ndarray, at: int, end: int) -> tuple[np.int64, int]:
    """The code point of the character beyond ASCII that starts here, and its size in bytes."""
    lead = np.int64(data[at])
    if lead < 0xE0 and at + 1 < end:
        return (lead & 0x1F) << 6 | np.int64(data[at + 1]) & 0x3F, 2
    if lead < 0xF0 and at + 2 < end:
        return (lead & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | np.int64(data[at + 2]) & 0x3F, 3
    if at + 3 < end:
        return (
            (lead & 0x07) << 18
            | (np.int64(data[at + 1]) & 0x3F) << 12
            | (np.int64(data[at + 2]) & 0x3F) << 6
            | np.int64(data[at + 3]) & 0x3F
        ), 4
    return np.int64(0xFFFD), 1


@kernel
def _line_hash(before: np.uint64, words: np.uint64, after: np.uint64) -> np.uint64:
    return ((before * _MIX ^ words) * _PRIME ^ after) * _MIX


@kernel
def _find(tables: CharacterTables, data: np.ndarray, offsets: np.ndarray, found: Structure) -> None:
    of_byte, of_code_point = tables.of_byte, tables.of_code_point
    beyond = np.uint16(2)  # NOT_PUNCTUATION
    word = line = brk = 0
    for document in range(len(offsets) - 1):
        begin, end = offsets[document], offsets[document + 1]
        first_word = line_word = word
        characters = line_character = 0
        line_start = break_start = begin
        break_word = word
        before, words, gap = _SEED, _SEED, _SEED
        has_first = False
        at = begin
        while at <= end:
            # ---- The end of the text, or white space.
            byte = np.uint8(10)
            kind = np.uint16(_SPACE)
            size = 1
            if at < end:
                byte = data[at]
                kind = of_byte[byte]
                if kind & _NOT_ASCII:
                    point, size = _decode(data, at, end)
                    kind = of_code_point[point] if point < len(of_code_point) else beyond
            if kind & _SPACE:
                is_line_end = at == end or byte == 10
                is_break = is_line_end or kind & _BREAK != 0
                if is_break and byte == 13 and at + 1 < end and data[at + 1] == 10:
                    is_break = False  # a break of two characters ends at its second
                if is_break and (at < end or break_start < end):
                    found.break_starts[brk] = break_start - begin
                    stop = (
                        at - 1 if at < end and byte == 10 and at > break_start and data[at - 1] == 13 else at
                    )
                    found.break_ends[brk] = stop - begin
                    found.break_words[brk] = break_word - first_word
                    brk += 1
                if is_break:
                    break_start = at + size
                    break_word = word
                if is_line_end:
                    found.line_starts[line] = line_start - begin
                    found.line_ends[line] = at - begin
                    found.line_words[line] = word - line_word
                    found.line_characters[line] = characters - line_character
                    if word == line_word:
                        found.line_hashes[line] = _line_hash(gap, words, _SEED)
                    else:
                        found.line_hashes[line] = _line_hash(before, words, gap)
                        if not has_first:
                            found.outer_hashes[document, 0] = _line_hash(_SEED, words, gap)
                            has_first = True
                        found.outer_hashes[document, 1] = _line_hash(before, words, _SEED)
                    line += 1
                    line_start, line_word, line_character = at + 1, word, characters + 1
                    before, words, gap = _SEED, _SEED, _SEED
                else:
                    for place in range(at, at + size):
                        gap = (gap ^ np.uint64(data[place])) * _PRIME
                characters += at < end
                at += size
                continue
            # ---- A word: bytes of ASCII first, whole characters from the first other one on.
            start = at
            value = _SEED
            kinds = np.uint16(0)
            length = 0
            while at < end:
                byte = data[at]
                kind = of_byte[byte]
                if kind & (_SPACE | _NOT_ASCII):
                    break
                kinds |= kind
                value = (value ^ np.uint64(byte)) * _PRIME
                at += 1
            length = at - start
            while at < end:
                byte = data[at]
                kind = of_byte[byte]
                size = 1
                if kind & _NOT_ASCII:
                    point, size = _decode(data, at, end)
                    kind = of_code_point[point] if point < len(of_code_point) else beyond
                if kind & _SPACE:
                    break
                kinds |= kind
                for place in range(at, at + size):
                    value = (value ^ np.uint64(data[place])) * _PRIME
                at += size
                length += 1
            found.word_hashes[word] = value
            found.word_starts[word] = start - begin
            found.word_ends[word] = at - begin
            found.word_characters[word] = length
            found.word_kinds[word] = kinds & _WORD
            if word == line_word:
                before = gap
            else:
                words = (words ^ gap) * _PRIME
            words = (words ^ value) * _PRIME
            gap = _SEED
            word += 1
            characters += length
        found.characters[document] = characters
        found.first_words[document + 1] = word
        found.first_lines[document + 1] = line
        found.first_breaks[document + 1] = brk
