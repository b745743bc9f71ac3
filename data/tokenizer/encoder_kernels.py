"""Encoding text by words: the compiled loops that give SentencePiece's ids at the speed of a hash table.

Text is cut into words where no piece can cross (see ``encoder_tables``); a word's tokens are looked up in a table of
the words seen so far and worked out, by SentencePiece's own two algorithms, when it is new: 52 MB of English novels
have 111,000 different words.

One result of SentencePiece does depend on the text before a word. Its unigram search adds scores up in float32 from
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

from millrace.data.text.atomics import show, state_of
from millrace.data.text.kernels import kernel

INLINE_IDS = 3  # tokens that fit in an entry
KEY_BYTES = 16  # as in ``encoder_words``: longer words have their tokens apart, where their bytes are
LONGEST_WORD = 64  # bytes; longer words are not kept
FLOAT_STEPS = 2.0**24  # a float32 addition is off by at most its result divided by this
RESET_SUM = 100_000.0  # kScoreResetThreshold: beyond it SentencePiece begins its sum anew
ROUNDED = 0.01  # a float32 addition below RESET_SUM is off by less

# Unsigned: of a signed index, compiled code asks each time whether it counts from the end.
ZERO, ONE, TWO, EIGHT, FIFTEEN, SIXTEEN, HALF = (np.uint64(number) for number in (0, 1, 2, 8, 15, 16, 32))
COUNT = np.uint64(0xFF)  # the part of a state that tells how many tokens there are
KEPT_APART = np.uint64(0x80)  # set there if they are not in the entry
SUM_STEP = TWO  # how finely a state tells up to which sum it holds, so that two bytes reach RESET_SUM
MIX, LOWER_HALF = np.uint64(0x9E3779B1), np.uint64(2**32 - 1)


class EncoderTables(NamedTuple):
    """A vocabulary of V ids as arrays; ``encoder_tables`` makes it.

    It is defined here because Numba renews a kernel's machine code only when the kernel's own file changes.

    Attributes:
        is_unigram: Unigram, else BPE.
        trie: Edges of the pieces' trie over bytes, spaces as one byte: int64 [power of two], an open-addressing table
            of ``(node * 256 + byte + 1) << 32 | child``, 0 where free, searched by ``next_node``. The root is 0.
        node_piece: Trie node -> id of the piece that ends there or -1, int32 [nodes].
        scores: Id -> score that a piece adds to a path, float32 [V].
        added: Id -> what an emitted id adds to a path, float32 [V]. As ``scores``, but an unknown character, which is
            emitted as bytes, counts once, on its first byte.
        ranks: Id -> order of merging, int32 [V], small first; equal for equal scores.
        byte_ids: Byte -> id, int32 [256].
        unknown_score: Score that an unknown character adds to a path, float32.
        largest_score: No character of a path adds more than this in size.
    """

    is_unigram: bool
    trie: Any
    node_piece: Any
    scores: Any
    added: Any
    ranks: Any
    byte_ids: Any
    unknown_score: Any
    largest_score: float


class Scratch(NamedTuple):
    """Work arrays of the search for one word's tokens, each for all places of a word of ``LONGEST_WORD`` bytes.

    Attributes:
        best: The best sum to a place, float64.
        second: The second best, float64.
        begins: Where the best path's last piece begins, int32.
        pieces: That piece, int32.
        ids: The tokens found, uint32.
    """

    best: Any
    second: Any
    begins: Any
    pieces: Any
    ids: Any


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
def is_mark(data: Any, start: int, size: int) -> bool:
    """Whether a word is U+2581, with which pieces spell a space."""
    return size == 3 and data[start] == 0xE2 and data[start + 1] == 0x96 and data[start + 2] == 0x81


@kernel
def emit_path(
    data: Any, start: int, size: int, begins: Any, pieces: Any, byte_ids: Any, ids: Any, first: int
) -> int:
    """Writes the ids of the best path that ends at ``size``, unknown characters (piece -1) as bytes.

    Returns:
        How many these are, in ``ids`` from ``first`` on.
    """
    count = 0
    at = size
    while at > 0:
        count += 1 if pieces[at] >= 0 else at - begins[at]
        at = begins[at]
    place = first + count
    at = size
    while at > 0:
        if pieces[at] >= 0:
            place -= 1
            ids[place] = pieces[at]
        else:
            for byte in range(at - 1, begins[at] - 1, -1):
                place -= 1
                ids[place] = byte_ids[data[start + byte]]
        at = begins[at]
    return count


@kernel
def search_exactly(data: Any, start: Any, size: Any, tables: Any, scratch: Any) -> tuple[int, float]:
    """The unigram path of a word by itself, into ``scratch``, and up to which sum before it rounding cannot change it.

    Each place keeps the best and the second best way to reach it, in float64. With n additions on the best path and at
    most c (one per character) on another, float32 sums of size m are off by less than (n + c) * m / 2**24 together;
    the path holds while that is below the difference between the two, and the sum is not begun anew inside the word.
    """
    best, second, begins, pieces = scratch.best, scratch.second, scratch.begins, scratch.pieces
    for place in range(size + ONE):
        best[place] = second[place] = -np.inf
    best[0] = 0.0
    trie, node_piece, scores = tables.trie, tables.node_piece, tables.scores
    mask = np.uint64(trie.size - 1)
    at: Any = ZERO
    steps: Any = 0
    while at < size:
        width = min(np.uint64(character_bytes(data[start + at])), size - at)
        steps += 1
        has_single = False
        node = ZERO
        here, here_second = best[at], second[at]
        for end in range(at + ONE, size + ONE):
            # As next_node does, without a call for each byte.
            key = (node << EIGHT) + np.uint64(data[start + end - ONE]) + ONE
            mixed = key * MIX
            slot = (mixed ^ (mixed >> FIFTEEN)) & mask
            edge = np.uint64(trie[slot])
            while edge >> HALF != key and edge != ZERO:
                slot = (slot + ONE) & mask
                edge = np.uint64(trie[slot])
            if edge == ZERO:
                break
            node = edge & LOWER_HALF
            piece = node_piece[node]
            if piece >= 0:
                has_single = has_single or end - at == width
                score = np.float64(scores[np.uint64(piece)])
                reached = here + score
                second[end] = max(second[end], here_second + score, min(best[end], reached))
                if reached > best[end]:
                    best[end], begins[end], pieces[end] = reached, at, piece
        if not has_single:
            end = at + width
            score = np.float64(tables.unknown_score)
            second[end] = max(second[end], here_second + score, min(best[end], here + score))
            if here + score > best[end]:
                best[end], begins[end], pieces[end] = here + score, at, -1
        at += width
    characters = steps
    at = size
    while at > ZERO:
        steps += 1
        at = np.uint64(begins[at])
    gap = (best[size] - second[size]) * 0.99 - 1e-9  # the float64 sums are off too, far less
    limit = min(gap * FLOAT_STEPS / steps, RESET_SUM) - characters * tables.largest_score
    count = emit_path(data, np.int64(start), np.int64(size), begins, pieces, tables.byte_ids, scratch.ids, 0)
    return count, limit


@kernel
def search_from(
    data: Any, start: int, size: int, tables: Any, before: float, ids: Any, made: int
) -> tuple[int, float]:
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
    count = emit_path(data, start, size, begins, pieces, tables.byte_ids, ids, made)
    return count, best[size]


@kernel
def joined_piece(data: Any, start: int, tables: Any, node: int, begin: int, end: int) -> int:
    """The piece that some bytes make after what led to ``node`` of the trie, or -1."""
    for byte in range(begin, end):
        if node < 0:
            return -1
        node = next_node(tables.trie, node, data[start + byte])
    return tables.node_piece[node] if node >= 0 else -1


@kernel
def merge_pairs(data: Any, start: int, size: int, tables: Any, ids: Any, made: int) -> int:
    """The BPE tokens of a word, into ``ids``: the best-ranked pair of neighbours merges first, of equals the leftmost.

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
    first_made = made
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
    return made - first_made


@kernel
def fill_entry(
    entries: Any, kept_ids: Any, slot: int, data: Any, start: int, size: int, tables: Any, scratch: Any
) -> None:
    """Computes a word's tokens and publishes them in its entry."""
    ids = scratch.ids
    if tables.is_unigram:
        count, limit = search_exactly(data, np.uint64(start), np.uint64(size), tables, scratch)
        limit = 0.0 if is_mark(data, start, size) else limit
    else:
        count, limit = merge_pairs(data, start, size, tables, ids, 0), RESET_SUM
    entry = entries[slot]
    is_apart = size > KEY_BYTES or count > INLINE_IDS
    if is_apart:
        for index in range(count):
            kept_ids[entry.third + index] = ids[index]
    else:
        entry.first = ids[0]
        entry.second = ids[1]
        if count == INLINE_IDS:
            entry.third = ids[2]
    held = np.int64(max(limit, 0.0)) // np.int64(SUM_STEP)
    apart = np.int64(KEPT_APART) if is_apart else 0
    show(entries, slot, (held << 16) | (size << 8) | count | apart)


@kernel
def emit_words(
    data: Any,
    offsets: Any,
    first: int,
    last: int,
    starts: Any,
    found: Any,
    first_words: Any,
    tables: Any,
    entries: Any,
    kept_ids: Any,
    scratch: Any,
    sums: Any,
    end_id: int,
    ids: Any,
    made: int,
    lengths: Any,
) -> Any:
    """Writes the tokens of texts whose words are found, each text followed by ``end_id``.

    Sums of scores are made only where they might matter: until then every token is taken to add as much as any can.

    Args:
        data: UTF-8 bytes of all texts.
        offsets: Where each text starts and the last one ends, int64 [texts + 1].
        first: The first text.
        last: One behind the last.
        starts: From ``find_words``.
        found: From ``find_words``.
        first_words: From ``find_words``.
        tables: An ``EncoderTables``.
        entries: The table that was searched: see ``Words`` of ``word_encoder``, as for ``kept_ids``.
        kept_ids: Tokens that do not fit in their entry.
        scratch: A ``Scratch``.
        sums: The sum of scores that the first text begins with; gets the one that the last ends with. float32 [1].
        end_id: The boundary token.
        ids: Gets the tokens; room for one per byte and text, and for ``INLINE_IDS`` more.
        made: Tokens already there.
        lengths: Gets the tokens of each text, int64 [texts].

    Returns:
        Tokens there now.
    """
    added = tables.added
    base = offsets[first]
    most = np.uint64(np.ceil(tables.largest_score + ROUNDED)) if tables.is_unigram else ZERO
    at = np.uint64(made)
    for text in range(first, last):
        text_first = summed = at  # ``total`` is of the tokens before ``summed``, and less than ``spent``
        total = sums[0] if text == first else np.float32(0)
        spent = np.uint64(abs(total)) + ONE
        for word in range(np.uint64(first_words[text - first]), np.uint64(first_words[text - first + 1])):
            place = word << TWO
            state = np.uint64(found[place])
            count = state & COUNT
            if spent + (at - summed) * most < (state >> SIXTEEN) * SUM_STEP and count <= INLINE_IDS:
                ids[at] = found[place + ONE]
                ids[at + ONE] = found[place + TWO]
                ids[at + TWO] = found[place + TWO + ONE]
                at += count
                continue
            start = base + np.int64(starts[word])
            size = np.int64(starts[word + ONE] - starts[word])
            third = found[place + TWO + ONE]
            if count == ZERO and state != ZERO:
                slot = np.int64(found[place + ONE])
                if state_of(entries, slot) & 0xFF == 0:
                    fill_entry(entries, kept_ids, slot, data, start, size, tables, scratch)
                entry = entries[slot]
                state = np.uint64(entry.state)
                count = state & COUNT
                found[place + ONE] = entry.first
                found[place + TWO] = entry.second
                third = entry.third
            held = (state >> SIXTEEN) * SUM_STEP
            if spent + (at - summed) * most >= held and tables.is_unigram:
                for index in range(summed, at):
                    total += added[np.uint64(ids[index])]
                summed = at
                if abs(total) > RESET_SUM:
                    total = np.float32(0)
                spent = np.uint64(abs(total)) + ONE
            if spent + (at - summed) * most < held:
                if count <= INLINE_IDS:
                    ids[at] = found[place + ONE]
                    ids[at + ONE] = found[place + TWO]
                    ids[at + TWO] = third
                else:
                    count &= KEPT_APART - ONE
                    for index in range(count):
                        ids[at + index] = kept_ids[np.uint64(third) + index]
                at += count
                continue
            if not tables.is_unigram:
                at += np.uint64(merge_pairs(data, start, size, tables, ids, np.int64(at)))
                continue
            length, total = search_from(data, start, size, tables, total, ids, np.int64(at))
            if is_mark(data, start, size):
                total = np.float32(0)  # a space mark of the text itself: the sum begins anew after it
            at += np.uint64(length)
            summed = at
            spent = np.uint64(abs(total)) + ONE
        if text == last - 1 and tables.is_unigram:
            for index in range(summed, at):
                total += added[np.uint64(ids[index])]
            sums[0] = total
        ids[at] = end_id
        at += ONE
        lengths[text] = at - text_first
    return at
