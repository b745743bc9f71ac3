"""Character classes, as tables that kernels look bytes and code points up in.

ASCII bytes are looked up directly; a byte above needs its character decoded. Letters follow ``str.isalpha`` and white
space ``str.isspace``, so that rules agree with those written over Python strings.

References:
    Unicode 16, PropList.txt, property Sentence_Terminal, for the marks that end sentences in other scripts.
    Wenzek et al. 2020, "CCNet", arXiv 1911.00359: its normalisation's list of punctuation beyond ASCII, which follows
    Moses' replace-unicode-punctuation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ALPHABETIC, NOT_PUNCTUATION, HASH, BRACE = 1, 2, 4, 8
DOTS, LETTER_J, BRACKET, NOT_ASCII = 16, 32, 64, 128
SPACE, LINE_BREAK, TERMINAL = 256, 512, 1024

CODE_POINTS = 0x33000  # letters and punctuation of all scripts lie below; above are tags and private use

_SENTENCE_ENDS = (
    "589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 17d9-17da "
    "1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c "
    "2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 "
    "fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 "
    "111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 "
    "1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 "
    "16b37-16b38 16b44 16e98 1bc9f 1da88"
)
_PUNCTUATION = (
    "80-9f ab b4 bb 2013-2014 2019 201c-201e 2026 2236 2501 25ba 3001-3002 3008-300d 3010-3011 ff01 ff05 ff08-ff09 "
    "ff0c ff0e ff11 ff1a-ff1b ff1f ff5e"
)
_SPACES = "85 a0 1680 2000-200a 2028-2029 202f 205f 3000"
_LINE_BREAKS = "85 2028-2029"


class CharacterTables(NamedTuple):
    """Classes of bytes and characters: sums of the constants of this module.

    Attributes:
        of_byte: For ASCII; every other byte is ``NOT_ASCII`` alone. uint16 [256].
        of_code_point: For characters beyond ASCII, uint16 [CODE_POINTS]; what lies above is no punctuation and
            nothing else.
    """

    of_byte: npt.NDArray[np.uint16]
    of_code_point: npt.NDArray[np.uint16]


def _members(ranges: str) -> npt.NDArray[np.int64]:
    bounds = [[int(end, 16) for end in part.split("-")] for part in ranges.split()]
    return np.concatenate([np.arange(pair[0], pair[-1] + 1) for pair in bounds])


@lru_cache(maxsize=1)
def character_tables() -> CharacterTables:
    """The tables, made once per process in 30 ms."""
    points = np.zeros(CODE_POINTS, np.uint16)
    points[:] = NOT_PUNCTUATION
    points[[point for point in range(0x80, CODE_POINTS) if chr(point).isalpha()]] |= ALPHABETIC
    for ranges in (_PUNCTUATION, _SENTENCE_ENDS):
        points[_members(ranges)] &= ~np.uint16(NOT_PUNCTUATION)
    points[_members(_SENTENCE_ENDS)] |= TERMINAL
    points[_members(_SPACES)] |= SPACE
    points[_members(_LINE_BREAKS)] |= LINE_BREAK
    points[0x2026] |= DOTS

    table = np.zeros(256, np.uint16)
    table[0x80:] = NOT_ASCII
    for byte in range(0x80):
        character = chr(byte)
        table[byte] |= ALPHABETIC * character.isalpha() | SPACE * character.isspace()
        table[byte] |= NOT_PUNCTUATION * character.isalnum()
    table[[10, 11, 12, 13, 28, 29, 30]] |= LINE_BREAK
    for characters, meaning in (
        ("#", HASH),
        ("{", BRACE),
        (".", DOTS),
        ("jJ", LETTER_J),
        ("[", BRACKET),
        (".?!", TERMINAL),
    ):
        table[[ord(character) for character in characters]] |= meaning
    return CharacterTables(table, points)
