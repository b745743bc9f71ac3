"""Marks the runs of bytes that a text contains, as bits, to rule out blocks of documents that cannot contain a phrase.

A gram is ``GRAM_BYTES`` bytes of a document after every run of ASCII white space has become one space, hashed to a bit.
A phrase can only stand in a block of documents that has the bits of all its grams, whether its white space is taken
exactly or loosely; a block that has them all may still not contain it, so it is searched.

References:
    Bloom 1970, "Space/Time Trade-offs in Hash Coding with Allowable Errors", with one hash function.
    Goodwin et al. 2017, "BitFunnel: Revisiting Signatures for Search", section 4, for storing the bits of one hash value
    of all blocks side by side.
"""

from __future__ import annotations

from millrace.data.text.hashing import GOLDEN

GRAM_BYTES = 6
BLOCK_BYTES = 1 << 16
BLOCK_BITS = 1 << 16  # one for each byte of text; a third of them are set in source code
SHIFT = 65 - BLOCK_BITS.bit_length()
SPACES = b"\t\n\f\r "  # what ``\\s`` means to Arrow's regular expressions


def grams_of(text: str) -> list[int]:
    """The bits that a block with this text has, in order of their first appearance; none for a shorter text."""
    words = bytearray()
    for byte in text.encode():
        if byte not in SPACES:
            words.append(byte)
        elif words[-1:] != b" ":
            words += b" "
    found: dict[int, None] = {}
    for end in range(GRAM_BYTES, len(words) + 1):
        value = int.from_bytes(words[end - GRAM_BYTES : end], "big")
        found[(value * int(GOLDEN) & 0xFFFFFFFFFFFFFFFF) >> SHIFT] = None
    return list(found)
