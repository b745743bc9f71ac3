"""The normal form that compares words; data/dedup/forms.py has the one that compares whole texts.

Words are runs of letters, digits and underscores, compared without case, accents and compatibility forms. Marks that
spell (vowel signs, viramas, nuktas, tones, the voicing of kana) belong to their letter, as Unicode Standard Annex 29
has it; accents (of Latin, Greek, Cyrillic; points of Hebrew, harakat of Arabic) fall away; joiners, soft hyphens and what
else does not show are not seen; everything else separates. Unlike the annex, apostrophes, full stops and middle dots
within a word separate here, as English and code always were compared.

Scripts that do not put spaces between words have every character, with its marks, as a word of its own, or a paragraph
of Chinese would be one word; that is also what the annex says without a dictionary.

ASCII, nearly all of a code corpus, is folded byte by byte by the kernels that use it, with ``FOLD_TABLE``; compiled
code looks up all other characters (data/text/exchange.py).

``fold_tables`` is the same for comparisons that also ignore zero-width spaces within a word, because web pages are full
of them and they hide copied sentences. It leaves characters that fold to several letters by compatibility (``ß``,
ligatures) unchanged.

References:
    Unicode Standard Annex 29, "Unicode text segmentation", rule WB4: marks and format characters belong to what they
    follow. Unicode Standard, section 3.7: canonical equivalents. Unicode Character Database: combining classes.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .batch import TextBatch
from .exchange import END, Beyond, CharacterMap

# Thai, Lao; Myanmar; Khmer; Tai scripts; kana; CJK ideographs with extensions; Myanmar, Tai Viet; half-width kana. They
# are written without spaces between words. Borders are multiples of 16.
UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x1950, 0x19FF),
    (0x1A20, 0x1AAF),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),
    (0xF900, 0xFAFF),
    (0xFF60, 0xFF9F),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)

# First words of the names of marks that are accents, points or signs for reading aloud; all others spell.
_ACCENTS = [
    "ARABIC",
    "COMBINING",
    "CYRILLIC",
    "ETHIOPIC",
    "GREEK",
    "HANGUL",
    "HEBREW",
    "IDEOGRAPHIC",
    "MUSICAL",
    "NKO",
    "SAMARITAN",
    "SYRIAC",
    "VEDIC",
]
_VOICING = 8  # combining class of the marks of kana, whose names begin with COMBINING
# Grapheme joiner, inherent vowels of Khmer, Mongolian and other variation selectors: marks that do not show.
_UNSEEN = ((0x34F, 0x34F), (0x17B4, 0x17B5), (0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
# Signs that Armenian and Hebrew put within a word.
_WITHIN = ((0x55A, 0x55C), (0x55E, 0x55E), (0x5F3, 0x5F4))
POINTS = 0x33480  # further planes hold emoji, tags and private use: separators
_ZERO_WIDTH_SPACE = "\u200b"


def _is_in(ranges: tuple[tuple[int, int], ...], character: str) -> bool:
    point = ord(character)
    at = bisect_right(ranges, (point, 0x110000)) - 1
    return at >= 0 and point <= ranges[at][1]


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that puts no spaces between words."""
    return _is_in(UNSPACED, character)


def is_mark(character: str) -> bool:
    """Whether a character is a mark that spells: another one makes another word."""
    if unicodedata.category(character) not in ("Mn", "Mc") or _is_in(_UNSEEN, character):
        return False
    script, _, sign = unicodedata.name(character).partition(" ")
    is_accent = script in _ACCENTS or sign.startswith(
        ("STRESS SIGN", "GRAVE ACCENT", "ACUTE ACCENT", "MUSICAL")
    )
    return not is_accent or unicodedata.combining(character) == _VOICING


def is_ignored(character: str) -> bool:
    """Whether a character within a word counts for nothing: accents, and what does not show."""
    kind = unicodedata.category(character)
    return (
        kind == "Cf"
        or (kind[0] == "M" and not is_mark(character))
        or (kind == "Po" and _is_in(_WITHIN, character))
    )


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


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
    """Code point -> folded text, made when first met.

    A character that is a word of its own ends with ``END``, and a mark for it begins with one; the two cancel.
    """

    def __missing__(self, point: int) -> str:
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(point)).casefold())
        kept = ""
        for character in folded:
            is_alone = is_unspaced(character) or is_unspaced(chr(point))
            if _is_letter(character):
                kept += f" {character}{END}" if is_alone else character
            elif is_mark(character):
                kept += f"{END}{character}{END}" if is_alone else character
            elif not is_ignored(character) or character == _ZERO_WIDTH_SPACE:
                kept += " "
        self[point] = kept = kept.replace(2 * END, "")
        return kept


_FOLD = _Fold()


def fold(text: str) -> str:
    """The words of a text, separated by one or more spaces or ``END``."""
    return text.replace(END, " ").translate(_FOLD).replace(2 * END, "")


_FOLD_CHARACTERS = CharacterMap(fold)


def fold_batch(batch: TextBatch, found: Beyond | None = None) -> TextBatch:
    """The batch with every character beyond ASCII folded; ASCII is as it was, for ``FOLD_TABLE``.

    Args:
        batch: The texts.
        found: Result of ``exchange.beyond_ascii`` for them, if already known.
    """
    return _FOLD_CHARACTERS(batch, found)


SEPARATOR, IGNORED, ALONE, MARK, SEVERAL = 0, -1, 1 << 24, 1 << 25, 1 << 26


class Folds(NamedTuple):
    """The compared form of each character.

    Attributes:
        table: Code point -> the one it is compared as, with ``ALONE`` added where it is a word of its own and ``MARK``
            where it belongs to such a word before it; ``SEPARATOR`` between words, ``IGNORED`` for accents and invisible
            characters; ``SEVERAL`` and a place in ``sequences``. int32 [POINTS].
        sequences: As in ``table``, each ended by a 0: the parts of letters that have a canonical decomposition, so that
            Hangul syllables and vowels of two parts match either spelling. int32.
    """

    table: npt.NDArray[np.int32]
    sequences: npt.NDArray[np.int32]


@lru_cache(maxsize=1)
def fold_tables() -> Folds:
    """The tables, made once per process in 0.3 s."""
    table = [SEPARATOR] * POINTS
    sequences = [0]
    for point in range(POINTS):
        character = chr(point)
        if not _is_letter(character):
            if is_ignored(character):
                table[point] = IGNORED
            elif is_mark(character):
                table[point] = point
            if table[point] <= 0:
                continue
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        if len(folded) == 1:
            table[point] = ord(folded)
            continue  # nearly all
        parts = [part for part in folded if not is_ignored(part)]
        if len(parts) > 1:  # of those only canonical equivalents are taken apart
            folded = unicodedata.normalize("NFD", character.lower())
            parts = [part for part in folded if not is_ignored(part)] if len(folded) > 1 else [character]
        if len(parts) == 1:
            table[point] = ord(parts[0])
        else:
            table[point] = SEVERAL + len(sequences)
            sequences += [*(ord(part) + (_flag(part) if is_unspaced(character) else 0) for part in parts), 0]
    for first, last in UNSPACED:
        for point in range(first, min(last + 1, POINTS)):
            if 0 < table[point] < ALONE:
                table[point] += _flag(chr(table[point]))
    return Folds(np.array(table, np.int32), np.array(sequences, np.int32))


def _flag(character: str) -> int:
    """The flag of a letter or mark of a script without spaces."""
    return MARK if is_mark(character) else ALONE
