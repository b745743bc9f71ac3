"""Two normal forms of a text: one for "the same text", one for "the same words".

``exact_digests`` hashes a text in NFC, lower case, with white space collapsed: copies that differ in indentation, line
ends or capitals are one text.

``fold`` is for overlap: words are runs of letters, digits and underscores, compared without case, accents and
compatibility forms; everything else separates. It maps character by character, so that a span of folded text leads
back to the characters that it came from (whole-string NFKC would lose that). Scripts that do not put spaces between
words have every character folded to a word of its own, or a paragraph of Chinese would be one word.

ASCII text, nearly all of a code corpus, takes neither path: kernels fold it byte by byte with ``FOLD_TABLE``.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_right
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from .filters.batch import TextBatch, replaced
from .kernels import kernel

# Thai, Lao, Myanmar, Khmer; kana; CJK ideographs with extensions. They are written without spaces between words.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def _ascii_table() -> npt.NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for byte in range(128):
        character = chr(byte)
        if character.isalnum() or character == "_":
            table[byte] = ord(character.lower())
    table[128:] = np.arange(128, 256)
    return table


# Byte -> its folded form, 0 for a separator. Bytes of other characters are kept: they are folded before.
FOLD_TABLE = _ascii_table()


class _Fold(dict[int, str]):
    """Code point -> folded text, made when first met."""

    def __missing__(self, point: int) -> str:
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(point)).casefold())
        kept = "".join(
            character if character.isalnum() or character == "_" else " "
            for character in folded
            if not unicodedata.combining(character)
        )
        if any(first <= point <= last for first, last in UNSPACED):
            kept = f" {kept} "
        self[point] = kept
        return kept


_FOLD = _Fold()


def fold(text: str) -> str:
    """The words of a text, separated by one or more spaces."""
    return text.translate(_FOLD)


def fold_batch(batch: TextBatch) -> TextBatch:
    """The batch with every text that has characters beyond ASCII folded; others as they are, for ``FOLD_TABLE``."""
    rows = np.flatnonzero(_beyond_ascii(batch.data, batch.offsets))
    return replaced(batch, {int(row): fold(_text(batch, row)).encode() for row in rows})


def character_span(text: str, first_byte: int, end_byte: int) -> tuple[int, int]:
    """The characters of a text that a span of bytes of its folded form comes from.

    Args:
        text: The original text.
        first_byte: Start of the span in the text's row of ``fold_batch``.
        end_byte: Its end, exclusive.

    Returns:
        Start and exclusive end, counted in characters of ``text``.
    """
    if text.isascii():
        return first_byte, end_byte
    ends = list(accumulate(len(fold(character).encode()) for character in text))
    return bisect_right(ends, first_byte), bisect_right(ends, end_byte - 1) + 1


def exact_digests(batch: TextBatch) -> npt.NDArray[np.uint64]:
    """A 128-bit hash of each text's normal form: NFC, lower case, white space collapsed to single spaces.

    Returns:
        uint64 [documents, 2].
    """
    normal: dict[int, bytes] = {}
    for row in np.flatnonzero(_beyond_ascii(batch.data, batch.offsets)).tolist():
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", _text(batch, row)).lower())
        normal[row] = " ".join(text.split()).encode()
    batch = replaced(batch, normal)
    data, offsets = _collapse(batch.data, batch.offsets)
    view = memoryview(data)
    digests = np.empty((len(batch), 2), np.uint64)
    for row in range(len(batch)):
        digest = hashlib.blake2b(view[offsets[row] : offsets[row + 1]], digest_size=16).digest()
        digests[row] = np.frombuffer(digest, "<u8")
    return digests


def _text(batch: TextBatch, row: Any) -> str:
    return batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode()


@kernel
def _beyond_ascii(data: Any, offsets: Any) -> Any:
    found = np.zeros(offsets.size - 1, np.bool_)
    for row in range(offsets.size - 1):
        high = np.uint8(0)
        for at in range(offsets[row], offsets[row + 1]):
            high |= data[at]
        found[row] = high >= 128
    return found


@kernel
def _collapse(data: Any, offsets: Any) -> Any:
    """ASCII letters in lower case, runs of ASCII white space as one space, none at the ends."""
    out = np.empty(offsets[-1] - offsets[0], np.uint8)
    ends = np.zeros(offsets.size, np.int64)
    written = 0
    for row in range(offsets.size - 1):
        first, gap = written, False
        for at in range(offsets[row], offsets[row + 1]):
            byte = data[at]
            if byte == 32 or 9 <= byte <= 13:
                gap = written > first
                continue
            if gap:
                out[written] = 32
                written += 1
                gap = False
            if 65 <= byte <= 90:
                byte = np.uint8(byte + 32)
            out[written] = byte
            written += 1
        ends[row + 1] = written
    return out[:written], ends
