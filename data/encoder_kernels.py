"""Encoding text by words: the compiled loops that give SentencePiece's ids at the speed of a hash table.

Text is cut into words where no piece can cross (see ``encoder_tables``); a word's tokens are looked up in a table of
the words seen so far and worked out, by SentencePiece's own two algorithms, when it is new: 52 MB of English novels
have 111,000 different words.

One thing in SentencePiece does depend on what stands before a word. Its unigram search adds scores up in float32 from
the start of the text, and begins anew beyond 100,000, so two nearly equal ways to cut a word may change places: about
0.02% of the tokens of whole novels. Each word is therefore kept with how large the sum may be before rounding could
matter to it, and beyond that it is searched anew from the exact sum that SentencePiece has there.

References:
    Kudo 2018, "Subword Regularization" (arXiv 1804.10959), section 3.2: the unigram search; ``EncodeOptimized`` of
    SentencePiece's ``src/unigram_model.cc``: its order of additions, kept here. Sennrich et al. 2016 (arXiv
    1508.07909): BPE; ``src/bpe_model.cc``: which pair goes first. Higham 2002, "Accuracy and Stability of Numerical
    Algorithms", section 4.2: the bound on rounding in sums.
"""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy as np

from .kernels import kernel

PAIR_MASK = 2**18 - 1
ENTRY = 8  # int32 per word in the table of words: half a cache line
INLINE_IDS = 3  # tokens that fit in an entry, as its end
PACKED_BYTES = 8  # words up to here are compared by their key alone
LONGEST_WORD = 64  # bytes; longer words are not kept
FLOAT_STEPS = 2.0**24  # a float32 addition is off by at most its result divided by this
RESET_SUM = 100_000.0  # kScoreResetThreshold: beyond it SentencePiece begins its sum anew


class EncoderTables(NamedTuple):
    """A vocabulary of V ids as arrays; ``encoder_tables`` makes it.

    It is defined here because Numba renews a kernel's machine code only when the kernel's own file changes.

    Attributes:
        is_unigram: Unigram, else BPE.
        trie: Edges of the pieces' trie over bytes, spaces as one byte: int64 [power of two], an open-addressing table
            of ``(node * 256 + byte + 1) << 32 | child``, 0 where free, searched by ``next_node``. The root is 0.
        node_piece: Trie node -> id of the piece that ends there or -1, int32 [nodes].
        scores: Id -> what a piece adds to a path, float32 [V].
        added: Id -> what an emitted id adds to a path, float32 [V + 1]. As ``scores``, but an unknown character, which
            is emitted as bytes, counts once, on its first byte; and 0 for V, which fills entries of words.
        ranks: Id -> order of merging, int32 [V], small first; equal for equal scores.
        byte_ids: Byte -> id, int32 [256].
        single_ids: ASCII character -> id of its piece, or of its byte where it has none, int32 [128].
        unknown_score: What an unknown character adds to a path, float32.
        largest_score: No character of a path adds more than this in size.
        ascii_pairs: Whether some piece holds these two ASCII characters side by side, uint8 [128 * 128].
        pairs: The same for all characters, hashed: uint8 [PAIR_MASK + 1]; a collision only makes words longer.
    """

    is_unigram: bool
    trie: Any
    node_piece: Any
    scores: Any
    added: Any
    ranks: Any
    byte_ids: Any
    single_ids: Any
    unknown_score: Any
    largest_score: float
    ascii_pairs: Any
    pairs: Any


class Words(NamedTuple):
    """The words seen so far with their tokens: an open-addressing table that empties itself when it is full.

    Attributes:
        entries: int32 [slots, ENTRY]; slots is a power of two. A row is the word's key (two columns), its bytes and
            tokens (``bytes << 16 | tokens``, 0 where free), the sum up to which its tokens hold, where its bytes
            and tokens are kept, and up to ``INLINE_IDS`` tokens.
        keys: The same memory as int64 [slots, ENTRY / 2].
        limits: The same memory as float32 [slots, ENTRY].
        kept_bytes: Bytes of the words that do not fit in their entry, uint8.
        kept_ids: Their tokens, int32, at the same places: there are never more of them.
        used: Words, and places of those that are kept, int64 [2].
    """

    entries: Any
    keys: Any
    limits: Any
    kept_bytes: Any
    kept_ids: Any
    used: Any


@kernel
def pair_slot(first: int, second: int) -> int:
    """Where ``pairs`` says whether two characters, given as code points, stand side by side in a piece."""
    return ((first * 0x9E3779B1) ^ (second * 0x85EBCA77) ^ (first >> 5)) & PAIR_MASK


@kernel
def next_node(trie: Any, node: int, byte: int) -> int:
    """The trie's child of ``node`` by ``byte``, or -1."""
    key = node * 256 + byte + 1
    mask = trie.size - 1
    mixed = key * 0x9E3779B1
    slot = (mixed ^ (mixed >> 15)) & mask
    while trie[slot] != 0 and trie[slot] >> 32 != key:
        slot = (slot + 1) & mask
    return trie[slot] & 0xFFFFFFFF if trie[slot] != 0 else -1


@kernel
def character_bytes(first: int) -> int:
    """Bytes of the UTF-8 character that begins with this byte."""
    if first < 0x80:
        return 1
    if first < 0xE0:
        return 2
    return 3 if first < 0xF0 else 4


@kernel
def emit_path(data: Any, start: int, size: int, begins: Any, pieces: Any, byte_ids: Any) -> Any:
    """The ids of the best path that ends at ``size``, unknown characters (piece -1) as bytes."""
    count = 0
    at = size
    while at > 0:
        count += 1 if pieces[at] >= 0 else at - begins[at]
        at = begins[at]
    ids = np.empty(count, np.int32)
    at = size
    while at > 0:
        if pieces[at] >= 0:
            count -= 1
            ids[count] = pieces[at]
        else:
            for byte in range(at - 1, begins[at] - 1, -1):
                count -= 1
                ids[count] = byte_ids[data[start + byte]]
        at = begins[at]
    return ids


@kernel
def search_exactly(data: Any, start: int, size: int, tables: Any) -> tuple[Any, float]:
    """The unigram path of a word by itself, and up to which sum before it rounding cannot change the path.

    Each place keeps the best and the second best way to reach it, in float64. With n additions on the best path and at
    most c (one per character) on another, float32 sums of size m are off by less than (n + c) * m / 2**24 together;
    the path holds while that is below the difference between the two, and the sum is not begun anew inside the word.
    """
    best = np.full(size + 1, -np.inf)
    second = np.full(size + 1, -np.inf)
    begins = np.full(size + 1, -1, np.int32)
    pieces = np.full(size + 1, -1, np.int32)
    best[0] = 0.0
    trie, node_piece, scores = tables.trie, tables.node_piece, tables.scores
    mask = trie.size - 1
    at = 0
    characters = 0
    while at < size:
        width = min(character_bytes(data[start + at]), size - at)
        characters += 1
        has_single = False
        node = 0
        for end in range(at + 1, size + 1):
            key = (
                node * 256 + np.int64(data[start + end - 1]) + 1
            )  # as next_node does, without a call for each byte
            mixed = key * 0x9E3779B1
            slot = (mixed ^ (mixed >> 15)) & mask
            while trie[slot] != 0 and trie[slot] >> 32 != key:
                slot = (slot + 1) & mask
            if trie[slot] == 0:
                break
            node = trie[slot] & 0xFFFFFFFF
            piece = node_piece[node]
            if piece >= 0:
                has_single = has_single or end - at == width
                score = np.float64(scores[piece])
                second[end] = max(second[end], second[at] + score, min(best[end], best[at] + score))
                if best[at] + score > best[end]:
                    best[end], begins[end], pieces[end] = best[at] + score, at, piece
        if not has_single:
            end = at + width
            score = np.float64(tables.unknown_score)
            second[end] = max(second[end], second[at] + score, min(best[end], best[at] + score))
            if best[at] + score > best[end]:
                best[end], begins[end], pieces[end] = best[at] + score, at, -1
        at += width
    steps = characters
    at = size
    while at > 0:
        steps += 1
        at = begins[at]
    gap = (best[size] - second[size]) * 0.99 - 1e-9  # the float64 sums are off too, far less
    limit = min(gap * FLOAT_STEPS / steps, RESET_SUM) - characters * tables.largest_score
    return emit_path(data, start, size, begins, pieces, tables.byte_ids), limit


@kernel
def search_from(data: Any, start: int, size: int, tables: Any, before: float) -> tuple[Any, float]:
    """The unigram path of a word as SentencePiece finds it after a sum of ``before``, and the sum after it.

    Sums are float32, of equals the first stays, and a sum out of bounds is taken off all places reached so far.
    """
    best = np.zeros(size + 1, np.float32)
    begins = np.full(size + 1, -1, np.int32)
    pieces = np.full(size + 1, -1, np.int32)
    best[0] = before
    at = 0
    farthest = 0
    while at < size:
        if abs(best[at]) > RESET_SUM:
            offset = best[at]
            for place in range(at, farthest + 1):
                if place == at or begins[place] >= 0:
                    best[place] -= offset
        width = min(character_bytes(data[start + at]), size - at)
        here = best[at]
        has_single = False
        node = 0
        for end in range(at + 1, size + 1):
            node = next_node(tables.trie, node, data[start + end - 1])
            if node < 0:
                break
            piece = tables.node_piece[node]
            if piece >= 0:
                has_single = has_single or end - at == width
                farthest = max(farthest, end)
                reached = np.float32(tables.scores[piece] + here)
                if begins[end] < 0 or reached > best[end]:
                    best[end], begins[end], pieces[end] = reached, at, piece
        if not has_single:
            end = at + width
            farthest = max(farthest, end)
            reached = np.float32(tables.unknown_score + here)
            if begins[end] < 0 or reached > best[end]:
                best[end], begins[end], pieces[end] = reached, at, -1
        at += width
    return emit_path(data, start, size, begins, pieces, tables.byte_ids), best[size]


@kernel
def joined_piece(data: Any, start: int, tables: Any, node: int, begin: int, end: int) -> int:
    """The piece that some bytes make after what led to ``node`` of the trie, or -1."""
    for byte in range(begin, end):
        if node < 0:
            return -1
        node = next_node(tables.trie, node, data[start + byte])
    return tables.node_piece[node] if node >= 0 else -1


@kernel
def merge_pairs(data: Any, start: int, size: int, tables: Any) -> Any:
    """The BPE tokens of a word: the best-ranked pair of neighbours merges first, of equals the leftmost.

    Pairs wait in a heap as (rank and left symbol, right symbol, size of both) and may be out of date when their turn
    comes: the size tells.
    """
    begins = np.empty(size, np.int32)  # symbol -> its first byte and, below, the byte after its last
    ends = np.empty(size, np.int32)  # equal to its begin once it was merged into the one before
    nodes = np.zeros(size, np.int32)  # symbol -> its node in the trie, -1 where no piece begins like it
    count = 0
    at = 0
    while at < size:
        begins[count] = at
        for _ in range(min(character_bytes(data[start + at]), size - at)):
            if nodes[count] >= 0:
                nodes[count] = next_node(tables.trie, nodes[count], data[start + at])
            at += 1
        ends[count] = at
        count += 1
    befores = np.arange(-1, count - 1)
    afters = np.arange(1, count + 1)
    heap = [(np.int64(0), np.int64(0), np.int64(0))]
    heap.pop()
    turn = np.int64(0)
    while turn < count - 1 or len(heap) > 0:
        first, last = -1, turn  # at first the pair of each symbol and the next, then those that a merge makes
        if turn < count - 1:
            turn += 1
        else:
            key, right, both = heapq.heappop(heap)
            last = key & 0xFFFFFFFF
            first = befores[last]
            is_gone = ends[last] == begins[last] or ends[right] == begins[right]
            if is_gone or ends[last] - begins[last] + ends[right] - begins[right] != both:
                continue
            for byte in range(begins[right], ends[right]):
                nodes[last] = next_node(tables.trie, nodes[last], data[start + byte])
            ends[last] = ends[right]
            begins[right] = ends[right]
            afters[last] = afters[right]
            if afters[last] < count:
                befores[afters[last]] = last
        for left in (first, last):
            if left >= 0 and afters[left] < count:
                right = afters[left]
                piece = joined_piece(data, start, tables, nodes[left], begins[right], ends[right])
                if piece >= 0:
                    key = (np.int64(tables.ranks[piece]) << 32) | left
                    heapq.heappush(heap, (key, np.int64(right), np.int64(ends[right] - begins[left])))
    ids = np.empty(size, np.int32)
    made = 0
    symbol = 0
    while symbol < count:
        piece = joined_piece(data, start, tables, nodes[symbol], 0, 0)
        if piece >= 0:
            ids[made] = piece
            made += 1
        else:
            for byte in range(begins[symbol], ends[symbol]):
                ids[made] = tables.byte_ids[data[start + byte]]
                made += 1
        symbol = afters[symbol]
    return ids[:made].copy()


@kernel
def word_slot(key: int, size: int, mask: int) -> int:
    """Where the search for a word begins."""
    mixed = (key ^ size) * 0x9E3779B97F4A7C1
    return (mixed ^ (mixed >> 29)) & mask


@kernel
def find_word(words: Any, key: int, data: Any, start: int, size: int) -> int:
    """The slot where a word is, or the free one where it belongs."""
    mask = words.entries.shape[0] - 1
    slot = word_slot(key, size, mask)
    while True:
        sizes = words.entries[slot, 2]
        if sizes == 0:
            return slot
        if words.keys[slot, 0] == key and sizes >> 16 == size:
            if size <= PACKED_BYTES:
                return slot
            at = words.entries[slot, 4]
            byte = 0
            while byte < size and words.kept_bytes[at + byte] == data[start + byte]:
                byte += 1
            if byte == size:
                return slot
        slot = (slot + 1) & mask


@kernel
def keep_word(
    words: Any, slot: int, key: int, data: Any, start: int, size: int, ids: Any, limit: float, filler: int
) -> int:
    """Adds a word to the table, after emptying a full one; returns its slot."""
    slots = words.entries.shape[0]
    if words.used[0] * 2 >= slots or words.used[1] + size > words.kept_bytes.size:
        words.entries[:] = 0
        words.used[:] = 0
        slot = word_slot(key, size, slots - 1)
    words.used[0] += 1
    words.keys[slot, 0] = key
    words.entries[slot, 2] = (size << 16) | ids.size
    words.limits[slot, 3] = limit
    words.entries[slot, 4] = words.used[1]
    for index in range(INLINE_IDS):
        words.entries[slot, ENTRY - INLINE_IDS + index] = ids[index] if index < ids.size else filler
    if size > PACKED_BYTES or ids.size > INLINE_IDS:
        for byte in range(size):
            words.kept_bytes[words.used[1] + byte] = data[start + byte]
        for index in range(ids.size):
            words.kept_ids[words.used[1] + index] = ids[index]
        words.used[1] += size
    return slot


@kernel
def encode_texts(
    data: Any, offsets: Any, tables: Any, words: Any, end_id: int, ids: Any, lengths: Any
) -> int:
    """Encodes every text, each followed by ``end_id``.

    Args:
        data: UTF-8 bytes of all texts.
        offsets: Where each text starts and the last one ends, int64 [texts + 1].
        tables: An ``EncoderTables``.
        words: A ``Words``, which no other thread uses meanwhile.
        end_id: The boundary token.
        ids: Gets the tokens; room for one per byte and text, and for ``INLINE_IDS`` more.
        lengths: Gets the tokens of each text, int64 [texts].

    Returns:
        Tokens written.
    """
    made = 0
    filler = tables.added.size - 1
    entries, keys, limits, added = words.entries, words.keys, words.limits, tables.added
    mask = entries.shape[0] - 1
    for text in range(lengths.size):
        first_made = made
        end = offsets[text + 1]
        at = offsets[text]
        total = np.float32(0)
        while at < end:
            if abs(total) > RESET_SUM:
                total = np.float32(0)
            # A word: the characters up to the first place that no piece crosses.
            start = at
            key = np.int64(0)
            before = np.int64(-1)
            while at < end:
                byte = np.int64(data[at])
                if byte < 128:
                    if before >= 0:
                        if before < 128:
                            if tables.ascii_pairs[before * 128 + byte] == 0:
                                break
                        elif tables.pairs[pair_slot(before, byte)] == 0:
                            break
                    key = (key << 8) | byte if at - start < PACKED_BYTES else key * 0x100000001B3 + byte
                    before = byte
                    at += 1
                else:
                    width = min(character_bytes(byte), end - at)
                    character = byte & (0xFF >> (width + 1))
                    for index in range(1, width):
                        character = (character << 6) | (data[at + index] & 0x3F)
                    is_mark = character == 0x2581
                    if before >= 0 and (is_mark or tables.pairs[pair_slot(before, character)] == 0):
                        break
                    for index in range(at, at + width):
                        byte = np.int64(data[index])
                        key = (
                            (key << 8) | byte if index - start < PACKED_BYTES else key * 0x100000001B3 + byte
                        )
                    before = character
                    at += width
                    if is_mark:
                        break
            size = at - start
            if size == 1:
                token = tables.single_ids[before]
                ids[made] = token
                made += 1
                total += added[token]
                continue
            if before == 0x2581:  # a space mark of the text itself: bytes, and the sum begins anew after it
                for index in range(3):
                    ids[made + index] = tables.byte_ids[data[start + index]]
                made += 3
                total = np.float32(0)
                continue
            is_kept = size <= LONGEST_WORD
            if is_kept:
                # Most words are short and where their search begins: that is asked here, because a call counts references
                # to all arrays that it is given, which takes longer than the answer.
                slot = word_slot(key, size, mask)
                is_there = size <= PACKED_BYTES and keys[slot, 0] == key and entries[slot, 2] >> 16 == size
                if not is_there:
                    slot = find_word(words, key, data, start, size)
                if entries[slot, 2] == 0:
                    if tables.is_unigram:
                        found, limit = search_exactly(data, start, size, tables)
                    else:
                        found, limit = merge_pairs(data, start, size, tables), np.inf
                    slot = keep_word(words, slot, key, data, start, size, found, limit, filler)
                is_kept = abs(total) < limits[slot, 3]
            if not is_kept:
                if tables.is_unigram:
                    found, total = search_from(data, start, size, tables, total)
                else:
                    found = merge_pairs(data, start, size, tables)
                for index in range(found.size):
                    ids[made + index] = found[index]
                made += found.size
                continue
            count = entries[slot, 2] & 0xFFFF
            if count <= INLINE_IDS:  # written without a loop: what is too much is written over
                for index in range(INLINE_IDS):
                    token = entries[slot, ENTRY - INLINE_IDS + index]
                    ids[made + index] = token
                    total += added[token]
            else:
                kept = entries[slot, 4]
                for index in range(count):
                    token = words.kept_ids[kept + index]
                    ids[made + index] = token
                    total += added[token]
            made += count
        ids[made] = end_id
        made += 1
        lengths[text] = made - first_made
    return made
