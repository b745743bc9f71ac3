"""C4's rules: keep the lines that look like sentences, and drop the pages that have too few or look like a template.

Lines are those of ``str.splitlines``, without the white space around them; words those of ``str.split``. Wikipedia's
citation marks are cut before a line's end is looked at. A page goes at the first line, of those that stay so far, that
has "lorem ipsum" or a curly bracket: what follows such a line is not looked at, as in the original. Sentences are
counted by their ends, a mark with closing quotes and brackets before white space, where the original has NLTK's
trained splitter. The list of bad words is the rule ``words`` with such a list.

References:
    Raffel et al. 2020, "Exploring the Limits of Transfer Learning" (T5), arXiv 1910.10683, section 2.2; its code,
    tensorflow/datasets text/c4_utils.py, has the limit on a word's length, the policy phrases and the citations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from millrace.data.text.batch import Edited, TextBatch
from millrace.data.text.characters import CharacterTables, character_tables
from millrace.data.text.kernels import kernel
from millrace.data.text.structure import structure_of
from millrace.data.text.words_and_lines import Structure

VALUES = ("lorem_ipsum", "curly_brackets", "sentences")
EDITS = ("lines", "citations", "white_space")
POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_CITATIONS = ("[edit]", "[citation needed]")
# Every phrase with a space has a word at which one of these begins; no two have the same initial.
_HINTS = ("ipsum", "poli", "cook", "of use")


class LineRules(NamedTuple):
    """The rules for lines that stay, and for text that drops a page.

    Attributes:
        min_words: Lines with fewer words go.
        max_word_characters: Lines with a longer word go.
        terminal_punctuation: Lines that do not end in . ? ! or a quote, or that end in an ellipsis, go.
        javascript: Lines that mention JavaScript go.
        policy: Lines with one of ``POLICY_PHRASES`` go.
        citations: Citation marks are cut.
        lorem_ipsum: A page with the phrase ends there.
        curly_brackets: A page with one ends there.
    """

    min_words: int = 3
    max_word_characters: int = 1000
    terminal_punctuation: bool = True
    javascript: bool = True
    policy: bool = True
    citations: bool = True
    lorem_ipsum: bool = True
    curly_brackets: bool = True


class _Phrases(NamedTuple):
    """ASCII phrases end to end, as kernels take them: uint8 [bytes] and int64 [phrases + 1]."""

    data: np.ndarray
    offsets: np.ndarray


def _phrases(*texts: str) -> _Phrases:
    lengths = np.array([0, *(len(text) for text in texts)])
    return _Phrases(np.frombuffer("".join(texts).encode(), np.uint8), np.cumsum(lengths))


@kernel
def _lower(byte: np.uint8) -> np.uint8:
    return byte | 32 if 65 <= byte <= 90 else byte


@kernel
def _starts(data: np.ndarray, at: int, end: int, phrases: _Phrases, which: int) -> bool:
    """Whether a phrase starts here, in any case."""
    first, last = phrases.offsets[which], phrases.offsets[which + 1]
    if at + last - first > end:
        return False
    for place in range(first, last):  # noqa: SIM110 - kernels have no generators
        if _lower(data[at + place - first]) != phrases.data[place]:
            return False
    return True


@kernel
def _holds(data: np.ndarray, start: int, end: int, phrases: _Phrases, first: int, last: int) -> bool:
    """Whether the bytes contain one of the phrases, ignoring case."""
    for at in range(start, end):
        for which in range(first, last):
            if _lower(data[at]) == phrases.data[phrases.offsets[which]] and _starts(
                data, at, end, phrases, which
            ):
                return True
    return False


@kernel
def _kind(tables: CharacterTables, data: np.ndarray, at: int, end: int) -> tuple[np.int64, int]:
    """The kind of the character that starts here, and its size in bytes."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return np.int64(tables.of_byte[lead]), 1
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    size = min(size, end - at)
    point = lead & (0x1F if lead < 0xE0 else 0x0F if lead < 0xF0 else 0x07)
    for place in range(at + 1, at + size):
        point = point << 6 | np.int64(data[place]) & 0x3F
    return (np.int64(tables.of_code_point[point]) if point < len(tables.of_code_point) else np.int64(2)), size


@kernel
def _sentences(tables: CharacterTables, data: np.ndarray, start: int, end: int) -> int:
    """How many sentences a line has: their ends, and one more where text follows the last end."""
    space = 256  # of characters.py
    count, at, behind = 0, start, start
    while at < end:
        byte = data[at]
        at += 1
        if byte != 46 and byte != 63 and byte != 33:
            continue
        after = at
        while after < end and (
            data[after] == 34 or data[after] == 39 or data[after] == 41 or data[after] == 93
        ):
            after += 1
        if after == end or _kind(tables, data, after, end)[0] & space:
            count += 1
            at = behind = after
    while behind < end:
        kind, size = _kind(tables, data, behind, end)
        if not kind & space:
            return count + 1
        behind += size
    return max(count, 1)


@kernel
def _ends_sentence(data: np.ndarray, start: int, end: int) -> bool:
    """Whether a word ends a sentence: a mark, followed only by closing quotes and brackets."""
    last = data[end - 1]
    while (last == 34 or last == 39 or last == 41 or last == 93) and end - 1 > start:
        end -= 1
        last = data[end - 1]
    return last == 46 or last == 63 or last == 33


@kernel
def _citation_end(tables: CharacterTables, data: np.ndarray, at: int, end: int, citations: _Phrases) -> int:
    """Where the citation mark ends that starts here with a bracket, or ``at`` when it is none."""
    after = at + 1
    while after < end and 48 <= data[after] <= 57:
        after += 1
    if after < end and data[after] == 93:
        return after + 1
    for which in range(len(citations.offsets) - 1):
        length = citations.offsets[which + 1] - citations.offsets[which]
        if at + length <= end:
            is_same = True
            for place in range(length):
                if data[at + place] != citations.data[citations.offsets[which] + place]:
                    is_same = False
                    break
            if is_same:
                return at + length
    return at


@kernel
def _edit(
    tables: CharacterTables,
    rules: LineRules,
    phrases: _Phrases,
    hints: _Phrases,
    citations: _Phrases,
    data: np.ndarray,
    offsets: np.ndarray,
    found: Structure,
    out: np.ndarray,
    out_offsets: np.ndarray,
    values: np.ndarray,
    edits: np.ndarray,
) -> None:
    brace, letter_j, bracket, space = 8, 32, 64, 256  # of characters.py
    is_hint = np.zeros(256, np.uint8)
    for which in range(len(hints.offsets) - 1):
        initial = hints.data[hints.offsets[which]]
        is_hint[initial] = is_hint[initial - 32] = which + 1
    written = 0
    for document in range(len(offsets) - 1):
        base, stop = offsets[document], offsets[document + 1]
        begin = written
        first, last = found.first_words[document], found.first_words[document + 1]
        first_line, last_line = found.first_breaks[document], found.first_breaks[document + 1]
        kept = sentences = cut_lines = cut_citations = 0
        ended = False
        for line in range(first_line, last_line):
            left = first + found.break_words[line]
            right = first + found.break_words[line + 1] if line + 1 < last_line else last
            kinds, longest = np.uint8(0), np.int32(0)
            for word in range(left, right):
                kinds |= found.word_kinds[word]
            for word in range(left, right):
                longest = max(longest, found.word_characters[word])
            cut_lines += 1
            if longest > rules.max_word_characters:
                continue
            start = base + (found.word_starts[left] if left < right else 0)
            end = base + (found.word_ends[right - 1] if left < right else 0)
            # ---- The line, without citation marks, behind what is written; the next one overwrites it unless it stays.
            here = written + (kept > 0)
            own_citations = 0
            if rules.citations and kinds & bracket:
                to = here
                at = start
                while at < end:
                    if data[at] == 91:
                        after = _citation_end(tables, data, at, end, citations)
                        if after > at:
                            own_citations += 1
                            at = after
                            continue
                    out[to] = data[at]
                    to += 1
                    at += 1
            else:
                if rules.terminal_punctuation:
                    tail = data[end - 1] if start < end else np.uint8(0)
                    is_end = tail == 46 or tail == 63 or tail == 33 or tail == 34 or tail == 39
                    if not is_end:
                        continue
                to = here + end - start
                for place in range(end - start):
                    out[here + place] = data[start + place]
            if rules.terminal_punctuation:
                if to == here:
                    continue
                tail = out[to - 1]
                if not (tail == 46 or tail == 63 or tail == 33 or tail == 34 or tail == 39):
                    continue
                if tail == 46 and to - here >= 3 and out[to - 2] == 46 and out[to - 3] == 46:
                    continue
            if right - left < rules.min_words:
                continue
            # ---- Phrases: only where a word begins like one of theirs, or where citations may have joined two.
            may_hold = own_citations > 0
            if not may_hold:
                for word in range(left, right):
                    at = base + found.word_starts[word]
                    which = is_hint[data[at]]  # one more than the hint with this initial
                    if which and _starts(data, at, end, hints, which - 1):
                        may_hold = True
                        break
            if rules.lorem_ipsum and may_hold and _holds(out, here, to, phrases, 0, 1):
                values[document, 0] = 1
                ended = True
                break
            if rules.javascript and own_citations and _holds(out, here, to, phrases, 1, 2):
                continue
            if rules.javascript and kinds & letter_j and not own_citations:
                is_found = False
                for word in range(left, right):
                    if found.word_kinds[word] & letter_j:
                        at, after = base + found.word_starts[word], base + found.word_ends[word]
                        is_found |= _holds(data, at, after, phrases, 1, 2)
                if is_found:
                    continue
            if rules.curly_brackets and kinds & brace:
                values[document, 1] = 1
                ended = True
                break
            if rules.policy and may_hold and _holds(out, here, to, phrases, 2, len(phrases.offsets) - 1):
                continue
            if own_citations:
                sentences += _sentences(tables, out, here, to)
            else:
                ends = 0
                is_end = False
                for word in range(left, right):
                    is_end = _ends_sentence(
                        data, base + found.word_starts[word], base + found.word_ends[word]
                    )
                    ends += is_end
                sentences += max(ends + (not is_end and left < right), 1)
            if kept:
                out[written] = 10
            written = to
            kept += 1
            cut_lines -= 1
            cut_citations += own_citations
        values[document, 2] = sentences
        if ended:
            # The page goes; its text is the one that came, so that a decision quotes what was there.
            written = begin + stop - base
            out[begin:written] = data[base:stop]
        else:
            # ---- White space at both ends, which citations leave behind.
            at = begin
            while at < written:
                kind, size = _kind(tables, out, at, written)
                if not kind & space:
                    break
                at += size
            if at > begin:
                out[begin : begin + written - at] = out[at:written].copy()
                written = begin + written - at
            while written > begin:
                at = written - 1
                while at > begin and out[at] & 0xC0 == 0x80:
                    at -= 1
                if not _kind(tables, out, at, written)[0] & space:
                    break
                written = at
            edits[document, 0] = cut_lines
            edits[document, 1] = cut_citations
            if not cut_lines and not cut_citations:
                is_same = written - begin == stop - base
                if is_same:
                    for place in range(stop - base):
                        if out[begin + place] != data[base + place]:
                            is_same = False
                            break
                edits[document, 2] = not is_same
        out_offsets[document + 1] = written


class Cleaned(NamedTuple):
    """The measurements of a batch and its edited texts.

    Attributes:
        values: Each name of ``VALUES`` -> float64 [documents]: whether the page ended at a line with the phrase or
            with a curly bracket, and how many sentences its lines have that stay.
        edited: The texts of the lines that stay; ``lines`` and ``citations`` count what was cut, ``white_space`` is 1
            where only that changed. The text of a page that ended early stays as it is.
    """

    values: dict[str, np.ndarray]
    edited: Edited


def clean(batch: TextBatch, rules: LineRules | None = None, structure: Structure | None = None) -> Cleaned:
    """Cuts lines out of texts and measures the rest.

    Args:
        batch: The texts.
        rules: The rules for lines that stay.
        structure: The batch's words and lines, where they are known.
    """
    found = structure or structure_of(batch)
    values = np.zeros((len(VALUES), len(batch)))
    edits = np.zeros((len(EDITS), len(batch)), np.int64)
    # A page is never longer than it was: lines lose white space, and each but the last has a break for its line feed.
    out = np.empty(int(batch.offsets[-1] - batch.offsets[0]) + 1, np.uint8)
    offsets = np.zeros(len(batch) + 1, np.int64)
    _edit(
        character_tables(),
        rules or LineRules(),
        _phrases("lorem ipsum", "javascript", *POLICY_PHRASES),
        _phrases(*_HINTS),
        _phrases(*_CITATIONS),
        batch.data,
        batch.offsets,
        found,
        out,
        offsets,
        values.T,
        edits.T,
    )
    counts: dict[str, np.ndarray] = dict(zip(EDITS, edits, strict=True))
    return Cleaned(dict(zip(VALUES, values, strict=True)), Edited(TextBatch(out, offsets), counts))
