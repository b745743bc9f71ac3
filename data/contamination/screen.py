"""Selects the pairs of document and example that have to be chained: those whose upper bound is high enough.

One in eight triples of natural text is also in some example, most often in several, and nearly all by chance. So each
example has a running upper bound on the score of a chain that ends here, and on its bits: a word that a triple of the
example covers adds the highest worth among the example's words that it may match, however often that word has counted
already; a gap costs as much as in a chain, and the bound starts anew when it falls to zero. No chain scores higher, so
nothing is lost (``tests/data/contamination/test_screen.py``). Of 100,000 triples of a document and an example in a MB
of text about 90 pairs are left.

An example's state is one number of 64 bits, so that 27,000 of them fit the L2 cache.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.kernels import kernel

from .triples import Hits, Postings

UNITS = 4
"""Per bit: whole numbers, rounded so that the bound stays one."""

MOST = 0xFFF
"""Units that a bound counts up to: examples that need more, 1,000 bits, are passed on at that."""

PLACES = 1 << 20
"""Words after which all states start anew."""

AHEAD = 256  # heads that are on their way together

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Runs(NamedTuple):
    """The examples of each kind of triple, and what its words are worth at most.

    Attributes:
        runs: Of each kind kept a head and then the examples that have it, one per posting; int32 [kept + postings]. The
            head is the number of postings, and above its 8 bits 6 for the units of each word, the first lowest.
        slots: The example's words that a posting's triple consists of, -1 for none; int16 [kept + postings, 3].
        firsts: Where the run of each kind kept starts, int32 [kept].
    """

    runs: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int16]
    firsts: npt.NDArray[np.int32]


def runs(
    posted: Postings,
    firsts: Integers,
    is_kept: npt.NDArray[np.bool_],
    most: int,
    first_slot: Integers,
    bits: Floats,
) -> Runs:
    """Packs postings, and takes away the worth of words that none of them covers without a gap.

    Args:
        posted: The postings.
        firsts: First posting of each kind of triple and the end of the last, int64 [kinds + 1].
        is_kept: Kinds whose postings count, bool [kinds]; at most 255 postings of each.
        most: Postings of a kind that one example may have; more do not count.
        first_slot: First slot of each example and the end of the last, int64 [examples + 1].
        bits: Worth of each slot, at most 15, float32 [slots]; is changed: what only a triple with a gap has is not
            found in a copy as it is.
    """
    middle = firsts.size // 2
    halves = (0, middle), (middle, firsts.size - 1)  # of the kinds, on two cores
    is_covered = np.zeros(bits.size, np.bool_)
    with ThreadPoolExecutor(len(halves)) as pool:
        cover = partial(_cover, posted.examples, posted.slots, firsts, is_kept, most, first_slot, is_covered)
        counts = list(pool.map(cover, halves))
        bits[~is_covered] = 0
        units = np.ceil(bits * UNITS).astype(np.uint8)
        kept = int(is_kept[:middle].sum()), int(is_kept[middle:].sum())
        size = sum(counts) + sum(kept)
        made = Runs(np.empty(size, np.int32), np.empty((size, 3), np.int16), np.empty(sum(kept), np.int32))
        pack = partial(_runs, posted.examples, posted.slots, firsts, is_kept, most, first_slot, units, made)
        list(pool.map(pack, halves, (0, kept[0]), (0, counts[0] + kept[0])))
    return made


def candidates(
    hits: Hits,
    runs: npt.NDArray[np.int32],
    least_bits: npt.NDArray[np.floating[Any]],
    min_score: float,
    gap_bits: float,
) -> tuple[Integers, Integers]:
    """The pairs that may have a chain which is good enough.

    Args:
        hits: Triples of documents; what is found is where a run starts.
        runs: The examples of each kind of triple, see ``Runs``.
        least_bits: Bits that a chain of each example must have, float [examples].
        min_score: Bits less gaps that every chain must have.
        gap_bits: Cost of a word in a gap.

    Returns:
        Documents, ascending, and examples, int64 [pairs] each.
    """
    least = np.floor(np.minimum(least_bits * UNITS, MOST)).astype(np.int64)
    found = _candidates(*hits, runs, least, min(int(min_score * UNITS), MOST), int(gap_bits * UNITS))
    return found[0], found[1]


@kernel
def _cover(
    examples: Any,
    slots: Any,
    firsts: Any,
    is_kept: Any,
    most: int,
    first_slot: Any,
    is_covered: Any,
    kinds: Any,
) -> int:
    """Marks the slots that a kept triple of some kinds covers without a gap; returns how many postings are kept."""
    count = 0
    for kind in range(kinds[0], kinds[1]):
        if not is_kept[kind]:
            continue
        before, times = np.int32(-1), 0
        for posting in range(firsts[kind], firsts[kind + 1]):
            times = times + 1 if examples[posting] == before else 1
            before = examples[posting]
            if times > most:
                continue
            count += 1
            if slots[posting, 2] - slots[posting, 0] == 2:
                base = first_slot[before]
                for side in range(3):
                    is_covered[base + slots[posting, side]] = True
    return count


@kernel
def _runs(
    examples: Any,
    slots: Any,
    firsts: Any,
    is_kept: Any,
    most: int,
    first_slot: Any,
    units: Any,
    made: Any,
    kinds: Any,
    run: int,
    at: int,
) -> None:
    """Writes the runs of some kinds, the first of them as number ``run`` from place ``at`` on."""
    worth = np.zeros(3, np.int64)
    for kind in range(kinds[0], kinds[1]):
        if not is_kept[kind]:
            continue
        made.firsts[run] = at
        run += 1
        head = at
        at += 1
        worth[:] = 0
        made.slots[head] = -1
        before, times = np.int32(-1), 0
        for posting in range(firsts[kind], firsts[kind + 1]):
            times = times + 1 if examples[posting] == before else 1
            before = examples[posting]
            if times > most:
                continue
            made.runs[at] = before
            for side in range(3):
                slot = slots[posting, side]
                made.slots[at, side] = slot
                if slot >= 0:
                    worth[side] = max(worth[side], np.int64(units[first_slot[before] + slot]))
            at += 1
        made.runs[head] = (at - head - 1) | worth[0] << 8 | worth[1] << 14 | worth[2] << 20


@kernel
def _candidates(rows: Any, places: Any, found: Any, runs: Any, least: Any, min_score: int, gap: int) -> Any:
    apart = MOST // gap + 4  # between documents: nothing is left of any bound
    # Of each example: the last triple's place, 32 bits; the score, 12; the bits, 12; worth of its last two words, 6 each.
    states = np.zeros(least.size, np.int64)
    marked = np.full(least.size, -1, np.int32)
    out = np.empty((2, 256), np.int64)
    count = 0
    base, row, last = np.int64(apart), np.int64(-1), np.int64(0)
    heads = np.empty(AHEAD, np.int32)
    for hit in range(found.size):
        if hit % AHEAD == 0:  # heads together: they do not wait for one another
            for at in range(min(AHEAD, found.size - hit)):
                heads[at] = runs[found[hit + at]]
        if rows[hit] != row:
            row = np.int64(rows[hit])
            base += last + apart
            if base > PLACES:
                states[:] = 0
                base = np.int64(apart)
        last = np.int64(places[hit])
        place = base + last
        head = np.int64(heads[hit % AHEAD])
        one, two, three = head >> 8 & 63, head >> 14 & 63, head >> 20 & 63
        for at in range(found[hit] + 1, found[hit] + 1 + (head & 0xFF)):
            example = np.int64(runs[at])
            state = states[example]
            since = place - (state >> 36)
            score, bits = state >> 24 & MOST, state >> 12 & MOST
            if since > 3:
                score -= gap * (since - 3)
            if score <= 0:
                score = bits = one + two + three
                a, b = two, three
            elif since > 2:
                score, bits = score + one + two + three, bits + one + two + three
                a, b = two, three
            elif since > 0:
                before_a, before_b = state >> 6 & 63, state & 63
                if since == 1:
                    more = max(one - before_a, 0) + max(two - before_b, 0) + three
                    a, b = max(two, before_b), three
                else:
                    more = max(one - before_b, 0) + two + three
                    a, b = two, three
                score, bits = score + more, bits + more
            else:
                continue
            score, bits = min(score, MOST), min(bits, MOST)
            states[example] = place << 36 | score << 24 | bits << 12 | a << 6 | b
            if score >= min_score and bits >= least[example] and marked[example] != row:
                marked[example] = row
                if count == out.shape[1]:
                    grown = np.empty((2, 2 * count), np.int64)
                    grown[:, :count] = out
                    out = grown
                out[0, count], out[1, count] = row, example
                count += 1
    return out[0, :count].copy(), out[1, :count].copy()
