"""What a character is compared as: without case, accents and compatibility forms; what separates words; what is not seen.

One look-up per code point, so that kernels fold texts with letters beyond ASCII as fast as others. Characters that do
not show (zero-width spaces and joiners, soft hyphens, marks of direction) are ignored within a word: they are what
hides a copied sentence, and what web pages are full of. Characters of scripts that put no spaces between words are
words of their own. What folds to several letters (``ß``, ligatures) stays as it is.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .normalise import UNSPACED

SEPARATOR, IGNORED, ALONE = 0, -1, 1 << 24
POINTS = 0x30000  # further planes hold emoji, tags and private use: separators
_INVISIBLE = ("Cf", "Mn", "Me")


@lru_cache(maxsize=1)
def fold_table() -> npt.NDArray[np.int32]:
    """Code point -> the one it is compared as, with ``ALONE`` added where it is a word of its own; ``SEPARATOR``
    between words, ``IGNORED`` for accents and what does not show; int32 [POINTS]."""
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
