"""One digest per text, equal for texts with the same normal form: exact deduplication.

The normal form is NFC, without case, with runs of white space as one space and none at the ends: copies that differ in
indentation, line ends or capitals are one text. Two different texts share a digest of 128 bits with probability 2**-128;
it is no protection against deliberate collisions.

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

from millrace.data.text.batch import TextBatch, replaced
from millrace.data.text.exchange import Beyond, CharacterMap, beyond_ascii
from millrace.data.text.hashing import GOLDEN, MIX_FIRST, MIX_SECOND
from millrace.data.text.kernels import kernel

# Byte -> normal form: ASCII letters in lower case, white space as a space. Bytes beyond ASCII were exchanged before.
_PLAIN = np.arange(256, dtype=np.uint8)
_PLAIN[65:91] += 32
_PLAIN[[byte for byte in range(128) if chr(byte).isspace()]] = 32


def look(batch: TextBatch) -> Beyond:
    """Whether each text has characters beyond ASCII, and whether some of them can combine or have several encodings."""
    return beyond_ascii(batch, _unsettled())


def digests(batch: TextBatch, seen: Beyond | None = None) -> npt.NDArray[np.uint64]:
    """The digest of each text's normal form.

    Args:
        batch: The texts.
        seen: Result of ``look`` for them, if already known.

    Returns:
        uint64 [documents, 2].
    """
    seen = look(batch) if seen is None else seen
    changed = _composed(batch, np.flatnonzero(seen.is_wanted))
    if changed:
        made = np.frombuffer(b"".join(changed.values()), np.uint8)
        blocks = beyond_ascii(TextBatch(made, np.array([0, made.size]))).blocks
        batch, seen = replaced(batch, changed), seen._replace(blocks=seen.blocks | blocks)
    batch = _CASELESS(batch, seen)
    found: npt.NDArray[np.uint64] = _digests(batch.data, batch.offsets, _PLAIN)
    return found


def _becomes(character: str) -> str:
    return " " if character.isspace() else character.casefold()


_CASELESS = CharacterMap(_becomes)


def _composed(batch: TextBatch, rows: npt.NDArray[np.int64]) -> dict[int, bytes]:
    """Row -> text in NFC, for the texts that NFC changes."""
    changed: dict[int, bytes] = {}
    for row in rows.tolist():
        text = batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes().decode(errors="replace")
        composed = unicodedata.normalize("NFC", text)
        if composed != text:
            changed[row] = composed.encode()
    return changed


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
def _digests(data: Any, offsets: Any, plain: Any) -> Any:
    out = np.empty((offsets.size - 1, 2), np.uint64)
    longest = 0
    for row in range(offsets.size - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    words = np.zeros(longest // 8 + 2, np.uint64)
    text = words.view(np.uint8)
    for row in range(offsets.size - 1):
        end = np.uint64(0)
        before = np.uint8(32)
        for at in range(np.uint64(offsets[row]), np.uint64(offsets[row + 1])):
            byte = plain[data[at]]
            text[end] = byte
            # Without a branch: a space behind a space is written over by what follows.
            end += np.uint64((byte != 32) | (before != 32))
            before = byte
        written = np.int64(end)
        if before == 32 and written > 0:
            written -= 1
        count = (written + 7) // 8
        for at in range(written, 8 * count):
            text[at] = 0
        one, two = np.uint64(written) + np.uint64(1), ~np.uint64(written)
        for at in range(count):
            one = (one ^ words[at]) * MIX_FIRST
            one ^= one >> np.uint64(32)
            two = (two + words[at]) * GOLDEN
            two ^= two >> np.uint64(29)
        one = (one ^ (one >> np.uint64(30))) * MIX_SECOND
        two = (two ^ (two >> np.uint64(27))) * MIX_SECOND
        out[row, 0], out[row, 1] = one ^ (one >> np.uint64(31)), two ^ (two >> np.uint64(31))
    return out
