"""One digest per text that is the same for texts that say the same: the normal form of exact deduplication.

The normal form is NFC, without case, with runs of white space as one space and none at the ends: copies that differ in
indentation, line ends or capitals are one text. Two different texts share a digest of 128 bits with probability 2**-128;
it resists chance, not somebody who looks for collisions.

ASCII takes 0.8 ms per MB. Only texts with characters that can combine or have several spellings are seen by Python.

References:
    Unicode Standard Annex 15 (normal forms), Unicode 5.18 (caseless matching); Steele et al. 2014: mixing constants.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..characters import CharacterMap, is_beyond_ascii
from ..filters.batch import TextBatch, replaced
from ..kernels import kernel

_SPACES = np.zeros(256, np.bool_)
_SPACES[[byte for byte in range(128) if chr(byte).isspace()]] = True


def digests(batch: TextBatch) -> npt.NDArray[np.uint64]:
    """The digest of each text's normal form, uint64 [documents, 2]."""
    batch = _CASELESS(_composed(batch))
    found: npt.NDArray[np.uint64] = _digests(batch.data, batch.offsets, _SPACES)
    return found


def _becomes(character: str) -> str:
    return " " if character.isspace() else character.casefold()


_CASELESS = CharacterMap(_becomes)


def _composed(batch: TextBatch) -> TextBatch:
    """The batch in NFC."""
    changed: dict[int, bytes] = {}
    rows = np.flatnonzero(is_beyond_ascii(batch))
    for row in rows[_is_unsettled(batch, rows)].tolist():
        text = batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode(errors="replace")
        composed = unicodedata.normalize("NFC", text)
        if composed != text:
            changed[row] = composed.encode()
    return replaced(batch, changed)


def _is_unsettled(batch: TextBatch, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of these texts NFC could change."""
    found: npt.NDArray[np.bool_] = _has_any(batch.data, batch.offsets, rows, _unsettled())
    return found


@lru_cache(maxsize=1)
def _unsettled() -> npt.NDArray[np.bool_]:
    """Code points that NFC reorders, replaces or joins to the one before, bool [0x110000]."""
    found = np.zeros(0x110000, np.bool_)
    # Beyond U+1FFFF only compatibility ideographs (2F800 to 2FA1F) have decompositions.
    for point in (*range(0xA0, 0xAC00), *range(0xD7A4, 0xD800), *range(0xF900, 0x20000)):
        character = chr(point)
        parts = unicodedata.decomposition(character)
        if unicodedata.combining(character):
            found[point] = True
        elif parts and not parts.startswith("<"):
            points = [int(part, 16) for part in parts.split()]
            found[points[1:]] = True
            found[point] |= unicodedata.normalize("NFC", character) != character
    found[0x1100:0x1200] = True  # Hangul letters, which join by rule and not by table
    found[0x2F800:0x2FA20] = True
    return found


@kernel
def _has_any(data: Any, offsets: Any, rows: Any, wanted: Any) -> Any:
    found = np.zeros(rows.size, np.bool_)
    for index in range(rows.size):
        at, end = offsets[rows[index]], offsets[rows[index] + 1]
        while at < end and not found[index]:
            first = np.int64(data[at])
            size = 1 if first < 192 else 2 if first < 224 else 3 if first < 240 else 4
            if size > 1 and at + size <= end:
                point = first & (0xFF >> (size + 1))
                for place in range(at + 1, at + size):
                    point = (point << 6) | (np.int64(data[place]) & 63)
                found[index] = point < wanted.size and wanted[point]
            at += size
    return found


@kernel
def _digests(data: Any, offsets: Any, spaces: Any) -> Any:
    out = np.empty((offsets.size - 1, 2), np.uint64)
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    words = np.zeros(longest // 8 + 2, np.uint64)
    text = words.view(np.uint8)
    for row in range(offsets.size - 1):
        written, before = 0, True
        for at in range(offsets[row], offsets[row + 1]):
            byte = data[at]
            is_space = spaces[byte]
            text[written] = np.uint8(32) if is_space else byte + np.uint8(32 * (65 <= byte <= 90))
            # Without a branch: a space behind a space is written over by what follows.
            written += not (is_space and before)
            before = is_space
        if before and written > 0:
            written -= 1
        count = (written + 7) // 8
        for at in range(written, 8 * count):
            text[at] = 0
        one, two = np.uint64(written) + np.uint64(1), ~np.uint64(written)
        for at in range(count):
            one = (one ^ words[at]) * np.uint64(0xBF58476D1CE4E5B9)
            one ^= one >> np.uint64(32)
            two = (two + words[at]) * np.uint64(0x9E3779B97F4A7C15)
            two ^= two >> np.uint64(29)
        one = (one ^ (one >> np.uint64(30))) * np.uint64(0x94D049BB133111EB)
        two = (two ^ (two >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[row, 0], out[row, 1] = one ^ (one >> np.uint64(31)), two ^ (two >> np.uint64(31))
    return out
