"""Finds places in texts that may hold personal data, in one compiled pass over the bytes; exact matchers check them.

Matching e-mail addresses, numbers and keys with regular expressions takes 5 to 50 MB/s for each; nearly all text holds
none. This pass reads tokens instead (words, numbers with their separators, ``@``) and points out only those whose
shape fits: a word that begins like a known key, digits grouped like a telephone number or after a word like "phone".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.kernels import kernel

EMAIL, IPV4, IPV6, NUMBER, IBAN, SECRET = range(6)
# Words before a telephone number, in lower case and the languages that the web is mostly in; numbers that stand
# without a country code, in whatever grouping, count as telephone numbers only after one of these.
PHONE_WORDS = (
    "tel", "telephone", "phone", "phones", "telefon", "telefono", "téléphone", "teléfono", "telefone", "telefoon",
    "telefax", "fax", "mobile", "mobil", "mobiltelefon", "movil", "móvil", "celular", "cell", "cellphone", "handy",
    "whatsapp", "hotline", "tlf", "tél", "тел", "телефон", "τηλ", "電話", "电话",
)  # fmt: skip
_LETTER, _DIGIT, _AT, _DASH = 1, 2, 3, 4


class Candidates(NamedTuple):
    """Places to look at, in the order of the texts.

    Attributes:
        rows: Row of the text, int64 [candidates].
        kinds: Possible kind: ``EMAIL`` ... ``SECRET``, int64 [candidates].
        starts: Where it starts, a place in the batch's data, int64 [candidates].
        ends: Where it ends, exclusive; for ``SECRET`` and ``IBAN`` where it starts.
    """

    rows: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class _Tables(NamedTuple):
    classes: npt.NDArray[np.uint8]
    local: npt.NDArray[np.bool_]
    separators: npt.NDArray[np.bool_]
    pairs: npt.NDArray[np.int32]
    prefixes: npt.NDArray[np.uint8]
    prefix_sizes: npt.NDArray[np.int64]
    cues: npt.NDArray[np.uint64]


def tables(prefixes: tuple[bytes, ...]) -> _Tables:
    """The look-up tables of the pass.

    Args:
        prefixes: How secrets begin, two ASCII characters or more each.
    """
    codes = np.arange(256)
    lower = codes | 32
    classes = np.where((codes < 128) & (lower >= 97) & (lower <= 122), _LETTER, 0).astype(np.uint8)
    classes[48:58] = _DIGIT
    classes[ord("@")] = _AT
    classes[ord("-")] = _DASH
    ordered = sorted(prefixes)
    pairs = np.full(1 << 16, -1, np.int32)
    table = np.zeros((len(ordered) + 1, max(map(len, ordered), default=0) + 1), np.uint8)
    for index in reversed(range(len(ordered))):
        prefix = ordered[index]
        pairs[prefix[0] << 8 | prefix[1]] = index
        table[index, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    return _Tables(
        classes,
        np.isin(classes, [_LETTER, _DIGIT]) | np.isin(codes, list(b"._%+-'")),
        np.isin(codes, list(b" .-/()")),
        pairs,
        table,
        np.array([*(len(prefix) for prefix in ordered), 0], np.int64),
        np.sort(_cue_hashes(PHONE_WORDS)),
    )


def _cue_hashes(words: tuple[str, ...]) -> npt.NDArray[np.uint64]:
    found = []
    for word in words:
        value = 0
        for byte in reversed(word.encode()):
            value = (value * 31 + (byte | 32 if byte < 128 else byte)) % (1 << 64)
        found.append(value)
    return np.array(found, np.uint64)


def candidates(batch: TextBatch, found: _Tables) -> Candidates:
    """The places of a batch that exact matchers have to look at.

    Args:
        batch: The texts.
        found: Result of ``tables``.
    """
    # A candidate takes three bytes or more; pages of the array that nothing is written to take no memory.
    size = int(batch.offsets[-1] - batch.offsets[0]) // 3 + 1
    out = np.empty((4, size), np.int64)
    count = _scan(batch.data, batch.offsets, *found, out)
    return Candidates(*out[:, :count].copy())


@kernel
def _has_cue(data: Any, start: int, at: int, cues: Any) -> bool:
    """Whether one of the two words before a place is a cue."""
    for _ in range(2):
        skipped = 0
        while at > start and skipped < 6:
            byte = data[at - 1]
            if byte >= 0x80 or 97 <= byte | 32 <= 122:
                break
            if byte == 10 or 48 <= byte <= 57:
                return False
            at -= 1
            skipped += 1
        value = np.uint64(0)
        length = 0
        while at > start and length < 40:
            byte = data[at - 1]
            if byte < 0x80 and not 97 <= byte | 32 <= 122:
                break
            value = value * np.uint64(31) + np.uint64(byte | 32 if byte < 128 else byte)
            at -= 1
            length += 1
        if length == 0:
            return False
        place = np.searchsorted(cues, value)
        if place < cues.size and cues[place] == value:
            return True
    return False


@kernel
def _scan(
    data: Any,
    offsets: Any,
    classes: Any,
    local: Any,
    separators: Any,
    pairs: Any,
    prefixes: Any,
    prefix_sizes: Any,
    cues: Any,
    out: Any,
) -> int:
    count = 0
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        at = start
        while at < end:
            kind = classes[data[at]]
            if kind == 0:
                at += 1
                continue
            begin = at
            if kind == 3:  # @
                left, right = at, at + 1
                while left > start and at - left < 64:
                    byte = data[left - 1]
                    if local[byte]:
                        left -= 1
                    elif 0x80 <= byte < 0xC0 and left - 1 > start and 0xC3 <= data[left - 2] <= 0xC9:
                        left -= 2
                    else:
                        break
                dots = 0
                while right < end and right - at < 255:
                    byte = data[right]
                    if byte == 46:
                        dots += 1
                    elif byte >= 0xC3 and byte <= 0xC9 and right + 1 < end:
                        right += 1
                    elif classes[byte] == 0 or classes[byte] == 3:
                        break
                    right += 1
                if left < at and dots > 0:
                    out[0, count], out[1, count], out[2, count], out[3, count] = row, 0, left, right
                    count += 1
                at += 1
                continue
            if kind == 1 or kind == 4:
                if at + 1 < end:
                    prefix = pairs[np.int64(data[at]) << 8 | data[at + 1]]
                    if prefix >= 0 and (kind == 1 or at == start or data[at - 1] != 45):
                        while (
                            prefixes[prefix, 0] == data[at] and prefixes[prefix, 1] == data[at + 1]
                        ):  # all with these two first characters
                            size = prefix_sizes[prefix]
                            same = at + size <= end
                            for index in range(2, size):
                                if not same:
                                    break
                                same = prefixes[prefix, index] == data[at + index]
                            if same:
                                out[0, count], out[1, count], out[2, count], out[3, count] = row, 5, at, at
                                count += 1
                                break
                            prefix += 1
                if kind == 4:
                    at += 1
                    continue
                while at < end and (classes[data[at]] == 1 or classes[data[at]] == 2):
                    at += 1
                if (
                    at - begin >= 4
                    and 65 <= data[begin] <= 90
                    and 65 <= data[begin + 1] <= 90
                    and classes[data[begin + 2]] == 2
                    and classes[data[begin + 3]] == 2
                ):
                    out[0, count], out[1, count], out[2, count], out[3, count] = row, 4, begin, begin
                    count += 1
                elif (
                    at - begin == 4 and at < end and data[at] == 58 and data[begin] | 32 == 102
                ):  # fc00: to fe80:
                    out[0, count], out[1, count], out[2, count], out[3, count] = row, 2, begin, at
                    count += 1
                continue
            # A number: groups of digits with one to three separators between them.
            digits = group = dots = longest = 0
            groups = np.uint64(0)  # sizes of the last groups, four bits each
            has_parenthesis = at > start and data[at - 1] == 40
            is_phone_shape = False
            last = at
            while at < end:
                if classes[data[at]] == 2:
                    group += 1
                    digits += 1
                    at += 1
                    last = at
                    continue
                groups = groups << np.uint64(4) | np.uint64(min(group, 15))
                longest = max(longest, group)
                is_phone_shape |= groups & np.uint64(0xFFF) == 0x334
                group = 0
                gap = 0
                ahead = at
                while ahead < end and gap < 3:
                    byte = data[ahead]
                    if separators[byte]:
                        has_parenthesis |= byte == 40 or byte == 41
                        ahead += 1
                    elif byte == 0xC2 and ahead + 1 < end and data[ahead + 1] == 0xA0:  # no-break space
                        ahead += 2
                    elif (
                        byte == 0xE2
                        and ahead + 2 < end
                        and data[ahead + 1] == 0x80
                        and 0x90 <= data[ahead + 2] <= 0xAF
                    ):  # dashes
                        ahead += 3
                    else:
                        break
                    gap += 1
                if gap == 0 or ahead >= end or classes[data[ahead]] != 2:
                    break
                dots += gap == 1 and data[at] == 46
                at = ahead
            else:
                groups = groups << np.uint64(4) | np.uint64(min(group, 15))
                longest = max(longest, group)
                is_phone_shape |= groups & np.uint64(0xFFF) == 0x334
            at = last
            if dots >= 3:
                out[0, count], out[1, count], out[2, count], out[3, count] = row, 1, begin, last
                count += 1
            if at < end and (classes[data[at]] == 1 or data[at] == 58):  # 2a00:... or 2001:...
                stop = begin
                while (
                    stop < end and stop - begin < 5 and (classes[data[stop]] == 1 or classes[data[stop]] == 2)
                ):
                    stop += 1
                if stop - begin == 4 and stop < end and data[stop] == 58 and 50 <= data[begin] <= 51:
                    out[0, count], out[1, count], out[2, count], out[3, count] = row, 2, begin, stop
                    count += 1
            has_letters = at < end and classes[data[at]] == 1
            if digits >= 7:
                has_plus = begin > start and (
                    data[begin - 1] == 43
                    or (data[begin - 1] == 40 and begin - 1 > start and data[begin - 2] == 43)
                )
                if (
                    has_plus
                    or has_parenthesis
                    or is_phone_shape
                    or longest >= 13
                    or (digits >= 13 and groups & np.uint64(0xFF) >= 0x33)
                    or _has_cue(data, start, begin, cues)
                ):
                    out[0, count], out[1, count], out[2, count], out[3, count] = row, 3, begin, last
                    count += 1
            if has_letters:
                while at < end and (classes[data[at]] == 1 or classes[data[at]] == 2):
                    at += 1
    return count
