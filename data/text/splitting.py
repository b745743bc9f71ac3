"""Finds the words and lines of texts, 64 bytes at a time.

A pass byte by byte loses its time to mispredicted branches, three a word. Here each test of bytes (white space?
letters?) takes 64 at once, and words are the runs of bits of the result. Common text needs no branch: words of ASCII
letters, single spaces between words. Uncommon text, other gaps and words, is listed on the way and then read byte by
byte. Measured on prose: half of the time of a good pass byte by byte; a walk from word to word with a vector for each
took as long as that.

References:
    Langdale & Lemire 2019, "Parsing Gigabytes of JSON per Second", arXiv 1902.08318, section 3.1: answers as bits, and
    carries of a sum that find the ends of runs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .hashing import FNV_OFFSET, GOLDEN, fnv
from .kernels import kernel
from .simd import (
    bytes_between,
    count_bits,
    first_bit,
    hash_bytes,
    lowered_between,
    settled,
    write_places,
)

if TYPE_CHECKING:
    from .characters import CharacterTables
    from .words_and_lines import Structure

_SPACE, _BREAK, _NOT_ASCII, _WORD = (
    256,
    512,
    128,
    255,
)  # of characters.py; kernels take no constants of other files


@kernel
def most(data: np.ndarray) -> tuple[int, int, int]:
    """At most how many words begin and how many lines and breaks end in some bytes, besides those of ends of texts.

    Bytes that may begin a character of white space count as one.
    """
    one = np.uint64(1)
    words = lines = breaks = 0
    before = one
    blocks = len(data) // 64
    for block in range(blocks):
        at = 64 * block
        feeds = settled(bytes_between(data, at, 10, 10))
        wide = bytes_between(data, at, 0xE1, 0xE3) | bytes_between(data, at, 0xC2, 0xC2)
        rarer = settled(bytes_between(data, at, 11, 13) | bytes_between(data, at, 28, 30) | wide)
        wide = settled(wide)
        space = settled(bytes_between(data, at, 9, 13) | bytes_between(data, at, 28, 32))
        words += count_bits(~space & (space << one | before)) + count_bits(wide)
        lines += count_bits(feeds)
        breaks += count_bits(feeds | rarer)
        before = space >> np.uint64(63)
    rest = len(data) - 64 * blocks
    return words + rest, lines + rest, breaks + rest


@partial(kernel, forceinline=True)  # a call would pass more than the function does
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
    return (fnv(before * GOLDEN, words) ^ after) * GOLDEN


@kernel
def _maybe_spaces(data: np.ndarray, at: int) -> np.uint64:
    """The bytes of a block that may begin white space beyond ASCII: U+0085, A0, 1680, 2000 to 205F and 3000.

    Most do not: quotation marks and dashes, Japanese, accents.
    """
    eights = settled(bytes_between(data, at + 1, 0x80, 0x80))
    others = settled(
        bytes_between(data, at + 1, 0x81, 0x81)
        | bytes_between(data, at + 1, 0x85, 0x85)
        | bytes_between(data, at + 1, 0x9A, 0x9A)
        | bytes_between(data, at + 1, 0xA0, 0xA0)
    )
    third = settled(bytes_between(data, at + 2, 0x80, 0x8A) | bytes_between(data, at + 2, 0xA8, 0xAF))
    is_cjk = settled(bytes_between(data, at, 0xE3, 0xE3))
    return eights & third & ~(is_cjk & ~settled(bytes_between(data, at + 2, 0x80, 0x80))) | others & ~is_cjk


@kernel
def _wide_spaces(
    is_space: np.ndarray, data: np.ndarray, at: int, end: int, leads: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """White space beyond ASCII in a block: bits of its bytes, and of those that reach into the next block.

    Args:
        is_space: Of code points.
        data: The bytes.
        at: Where the block starts.
        end: Where the text ends.
        leads: Bytes of the block that may begin such a character.
    """
    space = spilled = np.uint64(0)
    while leads:
        place = first_bit(leads)
        leads &= leads - np.uint64(1)
        if at + place >= end:
            break
        point, size = _decode(data, at + place, end)
        if point < len(is_space) and is_space[point] & _SPACE:
            bits = (np.uint64(1) << np.uint64(size)) - np.uint64(1)
            space |= bits << np.uint64(place)
            if place + size > 64:
                spilled = bits >> np.uint64(64 - place)
    return space, spilled


@kernel
def _split(
    tables: CharacterTables,
    data: np.ndarray,
    begin: int,
    end: int,
    starts: np.ndarray,
    ends: np.ndarray,
    kinds: np.ndarray,
    gaps: np.ndarray,
    odds: np.ndarray,
) -> tuple[int, int, int]:
    """Finds the words of one text, and its uncommon gaps and words.

    Args:
        tables: What characters are.
        data: The bytes, 80 of them behind the text.
        begin: Where the text starts.
        end: Where the text ends.
        starts: Filled in with where words start.
        ends: Filled in with where words end.
        kinds: Of each word; filled in for those that are of ASCII and of one block, unless they begin with a letter
            and have no character of a kind by itself.
        gaps: Filled in with the words before which there is anything but a single space.
        odds: Filled in with the words whose characters remain to be looked at.

    Returns:
        The numbers of words, gaps and odd words.
    """
    one, all_bits = np.uint64(1), ~np.uint64(0)
    words = closed = gap_count = odd_count = 0
    before, before_two = one, np.uint64(3)  # white space before the block: its last byte, its last two
    single = np.uint64(0)  # whether the last is a space
    spilled = np.uint64(0)  # bits of the block that a character of white space has that starts before it
    pending = np.uint64(0)  # whether the word that reaches into the block is odd
    for at in range(begin, end, 64):
        blank = settled(bytes_between(data, at, 32, 32))
        space = settled(bytes_between(data, at, 9, 13) | bytes_between(data, at, 28, 32)) | spilled
        wide = settled(bytes_between(data, at, 128, 255))
        letters = settled(lowered_between(data, at, 97, 122))
        rare = settled(
            lowered_between(data, at, 35, 35)  # '#'
            | lowered_between(data, at, 46, 46)  # '.'
            | lowered_between(data, at, 106, 106)  # 'j'
            | lowered_between(data, at, 123, 123)  # '{' and '['
        )
        spilled = np.uint64(0)
        if wide:
            leads = settled(bytes_between(data, at, 0xE1, 0xE3) | bytes_between(data, at, 0xC2, 0xC2))
            if leads:
                leads &= _maybe_spaces(data, at)
            if leads:
                more, spilled = _wide_spaces(tables.of_code_point, data, at, end, leads)
                space |= more
        if at + 64 > end:
            space |= all_bits << np.uint64(end - at)
        after_space = space << one | before
        openings, closings = ~space & after_space, space & ~after_space
        after_blank = (blank << one | single) & ~(space << np.uint64(2) | before_two)
        write_places(openings, starts, words, at - begin)
        write_places(closings, ends, closed, at - begin)
        # ---- Words after other gaps than a single space.
        special = openings & ~after_blank
        while special:
            lowest = special & (~special + one)
            gaps[np.uint64(gap_count)] = words + count_bits(openings & (lowest - one))
            gap_count += 1
            special ^= lowest
        # ---- Odd words: a bit added anywhere to a run of bits is carried to the run's end.
        odd = (rare | wide | openings & ~letters) & ~space
        carried = ~space + (odd | pending)
        ended = carried & closings
        pending = np.uint64(carried < (odd | pending))
        if ended:
            digits = settled(bytes_between(data, at, 48, 57))
            while ended:
                lowest = ended & (~ended + one)
                ended ^= lowest
                word = np.uint64(closed + count_bits(closings & (lowest - one)))
                start = np.int64(starts[word]) - (at - begin)
                own = lowest - (one << np.uint64(start & 63))
                if start < 0 or wide & own:
                    odds[np.uint64(odd_count)] = word
                    odd_count += 1
                    continue
                marks = rare & own
                kind = np.uint8((letters & own) != 0) | np.uint8(((letters | digits) & own) != 0) << 1
                while marks:
                    kind |= tables.of_byte[data[at + first_bit(marks)]]
                    marks &= marks - one
                kinds[word] = kind & _WORD
        words += count_bits(openings)
        closed += count_bits(closings)
        before, before_two = space >> np.uint64(63), space >> np.uint64(62)
        single = blank >> np.uint64(63)
    if closed < words:
        ends[closed] = end - begin
        odds[odd_count] = closed
        odd_count += 1
    return words, gap_count, odd_count


@kernel
def _look(tables: CharacterTables, data: np.ndarray, start: int, stop: int, end: int) -> tuple[Any, int]:
    """The classes that occur among a word's characters, and the number of characters."""
    all_bits, one, beyond = ~np.uint64(0), np.uint64(1), np.uint16(2)  # NOT_PUNCTUATION
    kinds = np.uint16(0)
    count = 0
    if stop - start <= 8:  # not worth the comparisons
        while start < stop:
            kind = tables.of_byte[data[start]]
            size = 1
            if kind & _NOT_ASCII:
                point, size = _decode(data, start, end)
                kind = beyond
                if point < len(tables.of_code_point):
                    kind = tables.of_code_point[point]
            kinds |= kind
            start += size
            count += 1
        return kinds & _WORD, count
    for at in range(start, stop, 64):
        own = all_bits if at + 64 <= stop else (one << np.uint64(stop - at)) - one
        letters = settled(lowered_between(data, at, 97, 122)) & own
        digits = settled(bytes_between(data, at, 48, 57)) & own
        marks = own & settled(
            bytes_between(data, at, 35, 35)  # '#'
            | bytes_between(data, at, 46, 46)  # '.'
            | lowered_between(data, at, 106, 106)  # 'j'
            | lowered_between(data, at, 123, 123)  # '{' and '['
        )
        kinds |= np.uint16(letters != 0) | np.uint16((letters | digits) != 0) << 1
        while marks:
            kinds |= tables.of_byte[data[at + first_bit(marks)]]
            marks &= marks - one
        count += count_bits(own & ~settled(bytes_between(data, at, 0x80, 0xBF)))
        leads = settled(bytes_between(data, at, 0xC0, 0xFF)) & own
        dots = settled(bytes_between(data, at, 0xE2, 0xE2))
        while leads:
            if kinds & np.uint16(3) == 3:
                leads &= dots  # beyond ASCII only U+2026 has a kind besides letter and no punctuation
                if not leads:
                    break
            point = _decode(data, at + first_bit(leads), end)[0]
            kinds |= tables.of_code_point[point] if point < len(tables.of_code_point) else beyond
            leads &= leads - one
    return kinds & _WORD, count


@kernel
def find(
    tables: CharacterTables,
    data: np.ndarray,
    offsets: np.ndarray,
    documents: tuple[int, int],
    found: Structure,
) -> None:
    """Fills in the structure of some documents.

    Args:
        tables: What characters are.
        data: The bytes, 80 of them behind the last of these documents.
        offsets: Where each text of the batch starts and the last one ends.
        documents: The first of them and the end of the last; those before have their structure already.
        found: Columns long enough (``most``), the kinds of all words those of one of ASCII letters.
    """
    of_byte, of_code_point = tables.of_byte, tables.of_code_point
    one = np.uint64(1)
    longest = np.int64(0)
    for document in range(*documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    gaps, odds = np.empty(longest // 2 + 2, np.int32), np.empty(longest // 2 + 2, np.int32)
    line_starts, line_ends, line_words = found.line_starts, found.line_ends, found.line_words
    line_characters, line_hashes, outer_hashes = found.line_characters, found.line_hashes, found.outer_hashes
    break_starts, break_ends, break_words = found.break_starts, found.break_ends, found.break_words
    first_word = found.first_words[documents[0]]
    line, brk = np.uint64(found.first_lines[documents[0]]), np.uint64(found.first_breaks[documents[0]])
    for document in range(*documents):
        begin, end = offsets[document], offsets[document + 1]
        starts, ends, kinds = (
            found.word_starts[first_word:],
            found.word_ends[first_word:],
            found.word_kinds[first_word:],
        )
        hashes, lengths = found.word_hashes[first_word:], found.word_characters[first_word:]
        last_word, gap_count, odd_count = _split(tables, data, begin, end, starts, ends, kinds, gaps, odds)
        for word in range(last_word):
            lengths[word] = ends[word] - starts[word]
        excess = odd = 0  # bytes that are not the first of their character
        line_word = break_word = word = line_character = 0
        line_start = break_start = at = begin
        before = words = FNV_OFFSET
        first_outer = last_before = last_words = FNV_OFFSET
        filled = 0  # lines with words
        for index in range(gap_count + 1):
            # ---- Words with single spaces between them.
            is_last = index == gap_count
            next_word = last_word if is_last else int(gaps[index])
            if next_word > word:
                for this in range(np.uint64(word), np.uint64(next_word)):
                    start = begin + starts[this]
                    value = hash_bytes(data, start, np.uint64(lengths[this]), np.uint64(0))
                    hashes[this] = value
                    words = fnv(words, value)
                while odd < odd_count and odds[odd] < next_word:
                    own = odds[odd]
                    odd += 1
                    kind, size = _look(tables, data, begin + starts[own], begin + ends[own], end)
                    excess += lengths[own] - size
                    lengths[own], kinds[own] = size, kind
                word = next_word
                at = begin + ends[word - 1]
            # ---- Other white space, up to a word or, behind the last, to the end of the text.
            gap = FNV_OFFSET
            start = end + 1 if is_last else begin + starts[word]
            while at < start:
                byte = np.uint8(10)
                kind = np.uint16(_SPACE)
                size = 1
                if at < end:
                    byte = data[at]
                    kind = of_byte[byte]
                    if kind & _NOT_ASCII:
                        point, size = _decode(data, at, end)
                        kind = of_code_point[point] if point < len(of_code_point) else np.uint16(0)
                is_line_end = byte == 10
                is_break = is_line_end or kind & _BREAK != 0
                if is_break and byte == 13 and at + 1 < end and data[at + 1] == 10:
                    is_break = False  # a break of two characters ends at its second
                if is_break:
                    if at < end or break_start < end:
                        is_pair = at < end and byte == 10 and at > break_start and data[at - 1] == 13
                        break_starts[brk] = break_start - begin
                        break_ends[brk] = at - is_pair - begin
                        break_words[brk] = break_word
                        brk += one
                    break_start = at + size
                    break_word = word
                if is_line_end:
                    characters = at - begin - excess
                    line_starts[line] = line_start - begin
                    line_ends[line] = at - begin
                    line_words[line] = word - line_word
                    line_characters[line] = characters - line_character
                    if word == line_word:
                        line_hashes[line] = _line_hash(gap, words, FNV_OFFSET)
                    else:
                        line_hashes[line] = _line_hash(before, words, gap)
                        if not filled:
                            first_outer = _line_hash(FNV_OFFSET, words, gap)
                        filled += 1
                        last_before, last_words = before, words
                    line += one
                    line_start, line_word, line_character = at + 1, word, characters + 1
                    words, gap = FNV_OFFSET, FNV_OFFSET
                else:
                    for place in range(at, at + size):
                        gap = fnv(gap, data[place])
                excess += size - 1
                at += size
            if word == line_word:
                before = gap
            else:
                words = fnv(words, gap)
        if filled:
            outer_hashes[document, 0] = first_outer
            outer_hashes[document, 1] = _line_hash(last_before, last_words, FNV_OFFSET)
        first_word += last_word
        found.characters[document] = end - begin - excess
        found.first_words[document + 1] = first_word
        found.first_lines[document + 1] = line
        found.first_breaks[document + 1] = brk
