"""Cutting text into words and finding them in a table of words that all threads of a process share.

Text is cut where no piece can cross (see ``encoder_tables``). Nothing here waits for one word before the next begins:
places of words are written by additions without branches, and hashes are made for a block of words, and the lines of
memory that they lead to are asked for, before the first is compared.

Several threads read and add words without a lock. A thread takes a slot by an atomic exchange of its state, fills it,
and publishes it by another exchange; a thread that meets a slot being filled goes on to the next, so a word may be
stored twice. Its tokens depend on its bytes alone, so every thread computes the same ones.

References:
    Purcell & Harris 2005, "Non-blocking Hashtables with Open Addressing" (DISC), for a slot's states of being free,
    filled and shown; Chen, Ailamaki, Gibbons & Mowry 2004, "Improving Hash Join Performance through Prefetching"
    (ICDE), for prefetching the memory of a group ("group prefetching").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from millrace.data.text.atomics import exchange_state, fetch, reserve, state_of
from millrace.data.text.kernels import kernel
from millrace.data.text.simd import WIDTH, bytes_between, eight_bytes, folded_product

PAIR_MASK = 2**18 - 1
SPACE_MARK = 0x2581  # a piece spells a space like this; in a text it is a word of its own
LONGEST_WORD = np.uint64(64)  # bytes; longer words are not kept
BLOCK = 64  # words whose memory is asked for together
TAKEN = 1  # the state of a slot that is being filled

# Unsigned: of a signed index, compiled code asks each time whether it counts from the end.
ZERO, ONE, TWO, THREE, SEVEN, EIGHT = (np.uint64(number) for number in (0, 1, 2, 3, 7, 8))
KEY_BYTES = np.uint64(16)  # words up to here are compared by their entry alone
ASCII, COUNT, ALL = np.uint64(0x7F), np.uint64(0xFF), np.uint64(2**64 - 1)
MIX_LOW, MIX_HIGH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, bits in no order


class Cuts(NamedTuple):
    """Between which characters text is cut.

    Attributes:
        ascii_pairs: Whether some piece holds these two ASCII characters side by side, uint8 [128 * 128].
        pairs: The same for all characters, hashed: uint8 [PAIR_MASK + 1]; a collision only makes words longer.
    """

    ascii_pairs: Any
    pairs: Any


@kernel
def pair_slot(first: int, second: int) -> int:
    """Where ``pairs`` says whether two characters, given as code points, stand side by side in a piece."""
    return ((first * 0x9E3779B1) ^ (second * 0x85EBCA77) ^ (first >> 5)) & PAIR_MASK


@kernel
def cut_texts(
    data: Any, offsets: Any, first: int, last: int, cuts: Any, starts: Any, first_words: Any
) -> int:
    """Where the words of texts ``first`` to ``last`` start, and the first word of each; returns their number."""
    ascii_pairs, pairs = cuts.ascii_pairs, cuts.pairs
    base = offsets[first]
    count: Any = 0
    for text in range(first, last):
        first_words[text - first] = count
        at, end = offsets[text], offsets[text + 1]
        before: Any = -1
        while at < end:
            while 0 <= before < 128 and at + WIDTH <= end and bytes_between(data, at, 0, 127) == ALL:
                made, pair = np.uint64(count), np.uint64(before)
                for place in range(np.uint64(at), np.uint64(at + WIDTH)):
                    pair = ((pair & ASCII) << SEVEN) | np.uint64(data[place])
                    starts[made] = place - np.uint64(base)
                    made += ONE - np.uint64(ascii_pairs[pair])
                count, before = np.int64(made), np.int64(pair & ASCII)
                at += WIDTH
            block_end = min(at + WIDTH, end)
            while at < block_end:
                starts[count] = at - base
                character: Any = np.int64(data[at])
                if character < 128:
                    if 0 <= before < 128:
                        count += 1 - ascii_pairs[before * 128 + character]
                    else:
                        count += (
                            before < 0 or before == SPACE_MARK or pairs[pair_slot(before, character)] == 0
                        )
                    at += 1
                else:
                    width = 2 if character < 0xE0 else 3 if character < 0xF0 else 4
                    width = min(width, end - at)
                    character &= 0xFF >> (width + 1)
                    for index in range(1, width):
                        character = (character << 6) | (data[at + index] & 0x3F)
                    is_apart = before < 0 or before == SPACE_MARK or character == SPACE_MARK
                    count += is_apart or pairs[pair_slot(before, character)] == 0
                    at += width
                before = character
    first_words[last - first] = count
    starts[count] = offsets[last] - base
    return count


@kernel
def take_slot(
    entries: Any, kept_bytes: Any, used: Any, slot: int, data: Any, start: int, size: Any, low: int, high: int
) -> bool:
    """Puts a word without its tokens into a free slot, unless another thread was there before."""
    place = np.uint64(reserve(used, 1, size))
    if place + size > kept_bytes.size or not exchange_state(entries, slot, 0, TAKEN):
        return False
    entry = entries[slot]
    entry.low = low
    entry.high = high
    entry.third = place
    for byte in range(size):
        kept_bytes[place + byte] = data[start + byte]
    reserve(used, 0, 1)
    return exchange_state(entries, slot, TAKEN, size << EIGHT)


@kernel
def find_words(
    data: Any,
    offsets: Any,
    first: int,
    last: int,
    cuts: Any,
    entries: Any,
    kept_bytes: Any,
    used: Any,
    starts: Any,
    found: Any,
    first_words: Any,
) -> int:
    """Cuts texts into words and finds or adds each in the table.

    Args:
        data: UTF-8 bytes of all texts; ``KEY_BYTES`` behind the last of these texts may be read.
        offsets: Where each text starts and the last one ends, int64 [texts + 1].
        first: The first text.
        last: One behind the last.
        cuts: A ``Cuts``.
        entries: The table: see ``Words`` of ``word_encoder``, as for the next two.
        kept_bytes: Bytes of its words.
        used: How much is used of both.
        starts: Gets the first byte of each word, counted from the first text, and the end of the last; int32.
        found: Gets what each word's entry begins with: state and tokens. Where the tokens are not there yet, the state
            is a size alone and the slot follows; for a word that is not kept it is 0. uint32, four a word.
        first_words: Gets the first word of each text and the end of the last, int64 [last - first + 1].

    Returns:
        The number of words.
    """
    count = cut_texts(data, offsets, first, last, cuts, starts, first_words)
    base = np.uint64(offsets[first])
    mask = np.uint64(entries.size - 1)
    lows, highs, slots = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)
    for block in range(0, count, BLOCK):
        block_first, block_end = np.uint64(block), np.uint64(min(block + BLOCK, count))
        for word in range(block_first, block_end):
            start = base + np.uint64(starts[word])
            size: Any = np.uint64(starts[word + ONE] - starts[word])
            low = eight_bytes(data, start) & (ALL >> (np.uint64(64) - (min(size, EIGHT) << THREE)))
            high_bits = (min(max(size, EIGHT + ONE), EIGHT + EIGHT) - EIGHT) << THREE
            high_mask = ALL >> (np.uint64(64) - high_bits) if size > EIGHT else ZERO
            high = eight_bytes(data, start + EIGHT) & high_mask
            mixed = folded_product(low ^ MIX_LOW, high ^ MIX_HIGH ^ size)
            if size > KEY_BYTES:
                for byte in range(KEY_BYTES, min(size, LONGEST_WORD), EIGHT):
                    mixed = folded_product(
                        mixed ^ eight_bytes(data, start + min(byte, size - EIGHT)), MIX_LOW
                    )
            slot = mixed & mask
            fetch(entries, slot)
            lows[word - block_first] = low
            highs[word - block_first] = high
            slots[word - block_first] = slot
        for word in range(block_first, block_end):
            start = base + np.uint64(starts[word])
            size = np.uint64(starts[word + ONE] - starts[word])
            low, high, slot = lows[word - block_first], highs[word - block_first], slots[word - block_first]
            place = word << TWO
            while True:
                entry = entries[slot]
                state = np.uint64(state_of(entries, slot))
                if (((state >> EIGHT) & ASCII) ^ size) | (entry.low ^ low) | (entry.high ^ high) == ZERO:
                    compared: Any = KEY_BYTES
                    while compared < size:
                        at: Any = min(compared, size - EIGHT)
                        kept = eight_bytes(kept_bytes, np.uint64(entry.third) + at)
                        if kept != eight_bytes(data, start + at):
                            break
                        compared += EIGHT
                    if compared >= size:
                        found[place] = state
                        found[place + ONE] = entry.first
                        found[place + TWO] = entry.second
                        found[place + TWO + ONE] = entry.third
                        if state & COUNT == ZERO:
                            found[place + ONE] = slot
                        break
                if state == ZERO:
                    is_full = used[0] * 2 >= entries.size or used[1] + size > kept_bytes.size
                    if is_full or size > LONGEST_WORD:
                        found[place] = 0
                        break
                    if take_slot(entries, kept_bytes, used, slot, data, start, size, low, high):
                        found[place] = size << EIGHT
                        found[place + ONE] = slot
                        break
                slot = (slot + ONE) & mask
    return count
