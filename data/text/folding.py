"""The normal form that compares words; data/dedup/forms.py has the one that compares whole texts.

Words are runs of letters, digits and underscores, compared without case, accents and
compatibility forms; everything else separates. It maps character by character, so that a span of folded text leads
back to the characters that it came from (whole-string NFKC would lose that). Scripts that do not put spaces between
words have every character folded to a word of its own, or a paragraph of Chinese would be one word.

ASCII, nearly all of a code corpus, is folded byte by byte by the kernels that use it, with ``FOLD_TABLE``; compiled
code looks up all other characters (data/text/exchange.py).

``fold_table`` is the same for comparisons that also ignore invisible characters: zero-width spaces and joiners, soft
hyphens, marks of direction, and accents. It ignores them within a word, because web pages are full of them and they
hide copied sentences. It leaves characters that fold to several letters (``ß``, ligatures) unchanged.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from .batch import TextBatch
from .exchange import Beyond, CharacterMap

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


_FOLD_CHARACTERS = CharacterMap(fold)


def fold_batch(batch: TextBatch, found: Beyond | None = None) -> TextBatch:
    """The batch with every character beyond ASCII folded; ASCII is as it was, for ``FOLD_TABLE``.

    Args:
        batch: The texts.
        found: Result of ``exchange.beyond_ascii`` for them, if already known.
    """
    return _FOLD_CHARACTERS(batch, found)


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


SEPARATOR, IGNORED, ALONE = 0, -1, 1 << 24
POINTS = 0x30000  # further planes hold emoji, tags and private use: separators
_INVISIBLE = ("Cf", "Mn", "Me")


@lru_cache(maxsize=1)
def fold_table() -> npt.NDArray[np.int32]:
    """Code point -> the one it is compared as, with ``ALONE`` added where it is a word of its own; ``SEPARATOR``
    between words, ``IGNORED`` for accents and invisible characters; int32 [POINTS]."""
    table = np.zeros(POINTS, np.int32)
    for point in range(POINTS):
        character = chr(point)
        if character.isalnum() or character == "_":
            folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
            bases = [base for base in folded if not unicodedata.combining(base)]
            table[point] = ord(bases[0]) if len(bases) == 1 else point
        elif unicodedata.combining(character) or unicodedata.category(character) in _INVISIBLE:
            table[point] = IGNORED
    for first, last in UNSPACED:
        span = table[first : last + 1]
        span[span > 0] += ALONE
    return table
