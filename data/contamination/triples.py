"""Words of texts, and three words in a row as 64-bit hashes: what documents and benchmark examples have in common.

Three words are few enough to survive when words are dropped or a layout changes, and enough to be rare: of all three
in a row of 197 MB of natural text, one in ten is also in one of 27,000 examples (2.3 million different ones). Examples
of up to ``DENSE_WORDS`` words also give the triples that leave one word out between two (``a b d``, ``a c d``,
``a c e``), so that a copy with words missing still has triples of theirs; a document gives only what stands there,
one look-up a word.

Words are folded as in ``data/folding.py``; apostrophes are not seen and underscores separate, so that ``don't`` and
``dont``, ``has_close_elements`` and ``has close elements`` are the same.

The look-up: a bitmap turns nearly every word away, then hashes sorted into buckets by their first bits.

References:
    Fowler, Noll & Vo, FNV-1a; Steele et al. 2014 (SplitMix64): the constants of the hashes. Guthrie et al. 2006, "A
    closer look at skip-gram modelling" (LREC), section 2: skip-grams.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..filters.batch import TextBatch
from ..folding import IGNORED, SEPARATOR, fold_table
from ..kernels import kernel
from . import ordering

DENSE_WORDS = 48
MAX_WORDS = 32_000  # of an example; slots are int16
BITMAP_BITS = 12  # per hash: one in twelve other triples passes
LETTERS = 26
_APOSTROPHES = (0x27, 0xB4, 0x2BC, 0x2018, 0x2019, 0x201B, 0xFF07)

Integers = npt.NDArray[np.int64]


class Words(NamedTuple):
    """The words of some texts, one text after the other.

    Attributes:
        hashes: uint64 [words]; odd for a character that is a word of its own.
        starts: First byte of each word in its text, int64 [words].
        ends: Its end, exclusive.
        offsets: First word of each text and the end of the last, int64 [texts + 1].
    """

    hashes: npt.NDArray[np.uint64]
    starts: Integers
    ends: Integers
    offsets: Integers


class Postings(NamedTuple):
    """Which triples which examples have, sorted by hash, then by example and slots.

    Attributes:
        hashes: uint64 [postings].
        examples: int32 [postings].
        slots: Which words of the example the triple consists of, -1 for a letter that only a layout puts there;
            int16 [postings, 3].
    """

    hashes: npt.NDArray[np.uint64]
    examples: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int16]

    def chosen(self, which: npt.NDArray[np.bool_]) -> Postings:
        """Some of them."""
        return Postings(self.hashes[which], self.examples[which], self.slots[which])


class Lookup(NamedTuple):
    """What finds a hash among sorted ones.

    Attributes:
        bitmap: A bit for the last bits of every hash, uint64 [a power of two].
        buckets: Where the hashes with the same first bits start, int32 [a power of two + 1].
        hashes: The hashes, ascending; a place is that of the first of its kind.
    """

    bitmap: npt.NDArray[np.uint64]
    buckets: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]


class Hits(NamedTuple):
    """Where texts have triples that are looked for, in the order of the texts.

    Attributes:
        rows: Text, int32 [hits].
        places: Number of the first word in its text, int32 [hits].
        found: Place of the hash in the look-up, int32 [hits].
        starts: First byte of the first word in its text, int32 [hits].
        ends: End of the last word, exclusive.
    """

    rows: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]
    found: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """For bytes what an ASCII character folds to, 0 between words, 1 where ``_split`` has to look closer; for code points
    as ``fold_table``."""
    table = fold_table().copy()
    table[ord("_")] = SEPARATOR
    table[list(_APOSTROPHES)] = IGNORED
    simple = np.maximum(table[:256], 0).astype(np.uint8)
    simple[table[:256] == IGNORED] = 1
    simple[128:] = 1
    return simple, table


def words(batch: TextBatch) -> Words:
    """All words of some texts."""
    return Words(*_words_of(batch.data, batch.offsets, *_tables()))


def postings(found: Words, first_field: Integers, answers: Integers) -> Postings:
    """The triples of examples.

    An example's words are numbered through its fields: its slots. Triples run on from field to field, as where an
    example is printed whole; where choices follow, also from the question to the right answer, and with the letters
    A, B, C before the choices.

    Args:
        found: The words of all fields of all examples.
        first_field: First field of each example and the end of the last, int64 [examples + 1]. The first field of an
            example is its question.
        answers: The field of each example that is the right answer, -1 where there is none, int64 [examples].
    """
    letters = words(TextBatch(np.arange(97, 97 + LETTERS, dtype=np.uint8), np.arange(LETTERS + 1))).hashes
    hashes, examples, slots = _postings(
        found.hashes, found.offsets, first_field, answers, letters, DENSE_WORDS, MAX_WORDS
    )
    order = ordering.sort(hashes)
    return Postings(hashes[order], examples[order], slots[order])


def lookup(hashes: npt.NDArray[np.uint64]) -> Lookup:
    """Makes ascending hashes ready to be looked up."""
    bits = max(int(hashes.size).bit_length(), 1)
    starts = np.zeros((1 << bits) + 1, np.int32)
    np.cumsum(
        np.bincount((hashes >> np.uint64(64 - bits)).astype(np.int64), minlength=1 << bits), out=starts[1:]
    )
    bitmap = np.zeros(1 << max(int(hashes.size * BITMAP_BITS).bit_length() - 6, 0), np.uint64)
    _mark(hashes, bitmap)
    return Lookup(bitmap, starts, hashes)


def find(batch: TextBatch, sought: Lookup) -> Hits:
    """Looks all triples of some texts up."""
    return Hits(*_find(batch.data, batch.offsets, *_tables(), *sought))


def document_frequency(batch: TextBatch, single: Lookup, triple: Lookup) -> tuple[Integers, Integers]:
    """In how many texts words and triples are.

    Args:
        batch: The texts.
        single: Hashes of words, each once.
        triple: Hashes of triples, each once.

    Returns:
        Texts with each word, int64 [words], and with each triple, int64 [triples].
    """
    counts = _document_frequency(batch.data, batch.offsets, *_tables(), *single, *triple)
    return counts[0], counts[1]


@kernel
def _split(text: Any, simple: Any, table: Any, hashes: Any, starts: Any, ends: Any) -> int:
    """Writes the words of a text, for which there must be ``_room``, and returns how many they are.

    ASCII is taken without a branch that depends on the text: at every byte the word so far is written where the next
    one will be, and only a separator moves on. A hash of 0 is no word.
    """
    prime, one = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)
    count = begin = skip = 0
    value = np.uint64(0)
    for at in range(text.size):
        folded = simple[text[at]]
        if folded != 1:
            inside = np.uint64(0) - np.uint64(folded > 1)  # all ones within a word
            if value == 0:
                begin = at
            hashes[count] = (value ^ (value >> np.uint64(29))) & ~one
            starts[count] = begin
            ends[count] = at
            count += int((value != 0) & (folded == 0))
            value = ((value + np.uint64(folded)) * prime) & inside
            continue
        if at < skip:
            continue
        point = np.int64(text[at])
        if point < 0x80:
            continue  # ignored
        size = 2 if point < 0xE0 else 3 if point < 0xF0 else 4
        skip = at + size
        if skip > text.size:
            break  # cut within a character, which is no UTF-8
        if size == 2:
            point = (point & 0x1F) << 6 | (text[at + 1] & 0x3F)
        elif size == 3:
            point = (point & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | (text[at + 2] & 0x3F)
        else:
            point = (
                (point & 0x07) << 18
                | (np.int64(text[at + 1]) & 0x3F) << 12
                | (np.int64(text[at + 2]) & 0x3F) << 6
                | (text[at + 3] & 0x3F)
            )
        meaning = table[point] if point < table.size else np.int32(0)
        if meaning == -1:
            continue
        if 0 < meaning < 0x1000000:
            if value == 0:
                begin = at
            value = (value + np.uint64(meaning)) * prime
            continue
        if value != 0:
            hashes[count] = (value ^ (value >> np.uint64(29))) & ~one
            starts[count] = begin
            ends[count] = at
            count += 1
            value = np.uint64(0)
        if meaning > 0:
            value = (np.uint64(meaning) + one) * np.uint64(0xBF58476D1CE4E5B9)
            hashes[count] = (value ^ (value >> np.uint64(29))) | one
            starts[count] = at
            ends[count] = skip
            count += 1
            value = np.uint64(0)
    if value != 0:
        hashes[count] = (value ^ (value >> np.uint64(29))) & ~one
        starts[count] = begin
        ends[count] = text.size
        count += 1
    return count


@kernel
def _room(size: Any) -> Any:
    """Most words of a text of so many bytes, and one: separators are between them, or they are three bytes long."""
    return size // 2 + 2


@kernel
def _most_room(offsets: Any) -> Any:
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return _room(longest)


@kernel
def _words_of(data: Any, offsets: Any, simple: Any, table: Any) -> Any:
    size = (offsets[-1] - offsets[0]) // 2 + 2 * offsets.size
    hashes = np.empty(size, np.uint64)
    starts = np.empty(size, np.int64)
    ends = np.empty(size, np.int64)
    firsts = np.zeros(offsets.size, np.int64)
    at = 0
    for row in range(offsets.size - 1):
        text = data[offsets[row] : offsets[row + 1]]
        at += _split(text, simple, table, hashes[at:], starts[at:], ends[at:])
        firsts[row + 1] = at
    return hashes[:at].copy(), starts[:at].copy(), ends[:at].copy(), firsts


@kernel
def _triple(first: Any, second: Any, third: Any) -> Any:
    value = (first * np.uint64(0x9E3779B97F4A7C15) + second) * np.uint64(0x9E3779B97F4A7C15) + third
    value = (value ^ (value >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return value ^ (value >> np.uint64(29))


@kernel
def _put(
    hashes: Any, examples: Any, slots: Any, at: int, value: Any, example: int, a: int, b: int, c: int
) -> int:
    hashes[at] = value
    examples[at] = example
    slots[at, 0] = a
    slots[at, 1] = b
    slots[at, 2] = c
    return at + 1


@kernel
def _postings(
    words: Any, fields: Any, first_field: Any, answers: Any, letters: Any, dense_words: int, max_words: int
) -> Any:
    most = 4 * words.size + 5 * fields.size
    hashes = np.empty(most, np.uint64)
    examples = np.empty(most, np.int32)
    slots = np.empty((most, 3), np.int16)
    n = 0
    for example in range(first_field.size - 1):
        first, last = first_field[example], first_field[example + 1]
        base = fields[first]
        count = min(fields[last] - base, max_words)
        own = words[base : base + count]
        reach = 2 if count <= dense_words else 1
        for i in range(count):
            for a in range(i + 1, i + 1 + reach):
                for b in range(a + 1, a + 1 + reach):
                    if b < count:
                        value = _triple(own[i], own[a], own[b])
                        n = _put(hashes, examples, slots, n, value, example, i, a, b)
        if fields[last] - base > max_words:
            continue
        answer, question = answers[example], fields[first + 1] - base
        if answer > first + 1:  # from the question to the right answer
            a, end = fields[answer] - base, fields[answer + 1] - base
            if question >= 2 and end > a:
                value = _triple(own[question - 2], own[question - 1], own[a])
                n = _put(hashes, examples, slots, n, value, example, question - 2, question - 1, a)
            if question >= 1 and end > a + 1:
                value = _triple(own[question - 1], own[a], own[a + 1])
                n = _put(hashes, examples, slots, n, value, example, question - 1, a, a + 1)
        if last - first < 3 or last - first - 1 > letters.size:
            continue
        for field in range(first + 1, last):  # choices with letters
            a, end = fields[field] - base, fields[field + 1] - base
            if end == a:
                continue
            letter = letters[field - first - 1]
            if a >= 2:
                value = _triple(own[a - 2], own[a - 1], letter)
                n = _put(hashes, examples, slots, n, value, example, a - 2, a - 1, -1)
            if a >= 1:
                value = _triple(own[a - 1], letter, own[a])
                n = _put(hashes, examples, slots, n, value, example, a - 1, -1, a)
            if end - a > 1:
                value = _triple(letter, own[a], own[a + 1])
                n = _put(hashes, examples, slots, n, value, example, -1, a, a + 1)
            elif field + 1 < last:
                value = _triple(letter, own[a], letters[field - first])
                n = _put(hashes, examples, slots, n, value, example, -1, a, -1)
    return hashes[:n].copy(), examples[:n].copy(), slots[:n].copy()


@kernel
def _mark(hashes: Any, bitmap: Any) -> None:
    mask = np.uint64(bitmap.size * 64 - 1)
    for at in range(hashes.size):
        low = hashes[at] & mask
        bitmap[low >> np.uint64(6)] |= np.uint64(1) << (low & np.uint64(63))


@kernel
def _place(value: Any, buckets: Any, hashes: Any, shift: Any) -> int:
    """The first place of a hash, -1 where it is not."""
    bucket = value >> shift
    for at in range(buckets[bucket], buckets[bucket + np.uint64(1)]):
        if hashes[at] >= value:
            return at if hashes[at] == value else -1
    return -1


@kernel
def _shift(buckets: Any) -> Any:
    bits = 0
    while 1 << bits < buckets.size - 1:
        bits += 1
    return np.uint64(64 - bits)


@kernel
def _find(data: Any, offsets: Any, simple: Any, table: Any, bitmap: Any, buckets: Any, hashes: Any) -> Any:
    longest = _most_room(offsets)
    own = np.empty(longest, np.uint64)
    starts = np.empty(longest, np.int64)
    ends = np.empty(longest, np.int64)
    passed = np.empty(longest, np.int64)
    hits = np.empty((1024, 5), np.int32)
    count = 0
    mask, shift = np.uint64(bitmap.size * 64 - 1), _shift(buckets)
    for row in range(offsets.size - 1):
        total = _split(data[offsets[row] : offsets[row + 1]], simple, table, own, starts, ends)
        # First the bitmap, without a branch, then the buckets: the look-ups of each do not wait for one another.
        candidates = 0
        for word in range(total - 2):
            value = _triple(own[word], own[word + 1], own[word + 2])
            own[word] = value
            low = value & mask
            passed[candidates] = word
            candidates += int(bitmap[low >> np.uint64(6)] >> (low & np.uint64(63)) & np.uint64(1))
        if count + candidates > hits.shape[0]:
            more = np.empty((2 * hits.shape[0] + candidates, 5), np.int32)
            more[:count] = hits[:count]
            hits = more
        for candidate in range(candidates):
            word = passed[candidate]
            at = _place(own[word], buckets, hashes, shift)
            if at >= 0:
                hits[count, 0] = row
                hits[count, 1] = word
                hits[count, 2] = at
                hits[count, 3] = starts[word]
                hits[count, 4] = ends[word + 2]
                count += 1
    return (
        hits[:count, 0].copy(),
        hits[:count, 1].copy(),
        hits[:count, 2].copy(),
        hits[:count, 3].copy(),
        hits[:count, 4].copy(),
    )


@kernel
def _document_frequency(
    data: Any,
    offsets: Any,
    simple: Any,
    table: Any,
    bitmap: Any,
    buckets: Any,
    hashes: Any,
    triple_bitmap: Any,
    triple_buckets: Any,
    triple_hashes: Any,
) -> Any:
    longest = _most_room(offsets)
    own = np.empty(longest, np.uint64)
    starts = np.empty(longest, np.int64)
    ends = np.empty(longest, np.int64)
    counts = np.zeros(hashes.size, np.int64)
    seen = np.full(hashes.size, -1, np.int32)
    triple_counts = np.zeros(triple_hashes.size, np.int64)
    triple_seen = np.full(triple_hashes.size, -1, np.int32)
    for row in range(offsets.size - 1):
        total = _split(data[offsets[row] : offsets[row + 1]], simple, table, own, starts, ends)
        _count(own, total, 1, bitmap, buckets, hashes, row, seen, counts)
        _count(own, total, 3, triple_bitmap, triple_buckets, triple_hashes, row, triple_seen, triple_counts)
    return counts, triple_counts


@kernel
def _count(
    own: Any,
    total: int,
    size: int,
    bitmap: Any,
    buckets: Any,
    hashes: Any,
    row: int,
    seen: Any,
    counts: Any,
) -> None:
    """Counts one text for each of the hashes that it has and that ``seen`` does not know of it."""
    mask, shift = np.uint64(bitmap.size * 64 - 1), _shift(buckets)
    for word in range(total - size + 1):
        value = own[word]
        if size == 3:
            value = _triple(value, own[word + 1], own[word + 2])
        low = value & mask
        if not (bitmap[low >> np.uint64(6)] >> (low & np.uint64(63))) & np.uint64(1):
            continue
        at = _place(value, buckets, hashes, shift)
        if at >= 0 and seen[at] != row:
            seen[at] = row
            counts[at] += 1
