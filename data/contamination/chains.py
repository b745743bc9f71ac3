"""Finds the stretch of a document that repeats an example: shared triples, chained along the document.

The search reads a document from left to right. A word that a shared triple covers for the first time adds the bits of
the example's word that it matches; a word between two triples costs ``GAP_BITS``; a chain starts anew when its score
falls to zero. A word of the document matches one word of the example, and a word of the example counts once. The best
chain is the evidence: its score, the words of the example that it has, its beginning and end. This is a local alignment
that ignores the order of the pieces, because copies shuffle choices and put letters between them.

A chain is contamination when it has

- ``min_coverage`` of the bits of the question, or of the whole example,
- ``min_score`` bits, and ``MIN_WORDS`` words.

Copies begin where the example begins, and where a sentence or line of the document does; phrases begin anywhere. A
chain with such a beginning needs only ``START_SHARE`` of that coverage and score, and ``START_WORDS`` words. So a
truncated question is found, but the same five words within a sentence are not.

With these constants the search finds most of 1,560 examples of 13 benchmarks planted into natural documents, and flags
less than one in a thousand of 88,000 documents without a plant (benchmarks/contamination_recall.py).

References:
    Smith & Waterman 1981, "Identification of common molecular subsequences": local alignment; Altschul et al. 1990,
    "Basic local alignment search tool": from shared words to segments with a score.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import TextBatch
from millrace.data.text.kernels import kernel

from . import screen, triples, words
from .index import MAX_BITS, Index

GAP_BITS = 2.0
MIN_WORDS = 6
START_WORDS = 4
START_SHARE = 0.75
REACH_WORDS = 3 + int(3 * MAX_BITS / GAP_BITS)
"""A triple farther than this from any other of its example costs more than it earns."""

SLICE_BYTES = 500_000

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Rule(NamedTuple):
    """The limits above which a repetition counts as contamination.

    Attributes:
        min_coverage: Share of the bits of a question or of a whole example.
        min_score: Bits of a chain less what its gaps cost.
    """

    min_coverage: float
    min_score: float


class Matches(NamedTuple):
    """Documents that repeat examples, one entry per pair: by document, the highest score first.

    Attributes:
        rows: Document, int64 [matches].
        examples: Example, int64 [matches].
        starts: First byte of the stretch in the document's text, int64 [matches].
        ends: Its end, exclusive.
        words: Words of the example that it has, int64 [matches].
        scores: Bits less what gaps cost, float64 [matches].
        coverage: Share of the example's bits that it has, of its question's and of its right answer's;
            float64 [matches, 3].
    """

    rows: Integers
    examples: Integers
    starts: Integers
    ends: Integers
    words: Integers
    scores: Floats
    coverage: Floats

    def chosen(self, which: Any) -> Matches:
        """Some of them, by bool or by place."""
        return Matches._make(column[which] for column in self)


def checkable(index: Index, rule: Rule) -> npt.NDArray[np.bool_]:
    """Whether each example would be found if a document held all of it, bool [examples].

    Others have too few words or too common ones: "2 + 2 = 4" is no evidence wherever it stands.
    """
    owner = np.repeat(np.arange(index.question_slots.size), np.diff(index.first_slot))
    words = np.bincount(owner[index.bits > 0], minlength=index.question_slots.size)
    return np.asarray((index.total_bits[:, 0] >= rule.min_score * START_SHARE) & (words >= START_WORDS))


def match(index: Index, batch: TextBatch, rule: Rule) -> Matches:
    """The pairs of a batch's documents and examples that are contamination."""
    total = index.total_bits
    least = np.minimum(total[:, 0], np.where(total[:, 1] > 0, total[:, 1], np.inf))
    least = least * rule.min_coverage * START_SHARE
    parts = [_candidates(index, batch, rows, least, rule) for rows in _slices(batch.offsets)]
    hits = triples.Hits(*(_joined([own[at] for own, _, _ in parts], np.int32) for at in range(3)))
    pair_rows = _joined([rows for _, rows, _ in parts], np.int64)
    pair_examples = _joined([numbers for _, _, numbers in parts], np.int64)
    # A triple covers three words at most, and fewer than four words are never enough.
    needed = np.maximum(np.ceil(least / (3 * MAX_BITS)), 2).astype(np.int32)
    found, scores, bits = _chains(
        *hits, pair_rows, pair_examples, index.runs, index.slots, index.first_slot, index.bits,
        index.question_slots, index.answer_slots, needed, GAP_BITS, REACH_WORDS, rule.min_score * START_SHARE,
    )  # fmt: skip
    rows, examples, first_words, last_words, covered, begins = found.T
    starts, ends = _bytes_of(batch, rows, first_words, last_words)
    with np.errstate(divide="ignore", invalid="ignore"):
        coverage = np.nan_to_num(bits / total[examples], nan=0.0, posinf=0.0)
    matches = Matches(rows, examples, starts, ends, covered, scores, coverage)
    share = coverage[:, :2].max(1)
    is_enough = (covered >= START_WORDS) & (share >= rule.min_coverage * START_SHARE)
    matches, begins, share = matches.chosen(is_enough), begins[is_enough], share[is_enough]
    is_whole = (
        (matches.words >= MIN_WORDS) & (matches.scores >= rule.min_score) & (share >= rule.min_coverage)
    )
    for at in np.flatnonzero(~is_whole & (begins > 0)).tolist():
        before = batch.data[: batch.offsets[matches.rows[at]] + matches.starts[at]]
        is_whole[at] = _is_boundary(before[batch.offsets[matches.rows[at]] :].tobytes())
    matches = matches.chosen(is_whole)
    return matches.chosen(np.lexsort((matches.examples, -matches.scores, matches.rows)))


def _slices(offsets: Integers) -> Iterator[slice]:
    """The rows of a batch in slices whose words and triples stay in the cache."""
    first = 0
    while first < offsets.size - 1:
        end = max(int(np.searchsorted(offsets, offsets[first] + SLICE_BYTES)), first + 1)
        end = min(end, offsets.size - 1)
        yield slice(first, end)
        first = end


def _candidates(
    index: Index, batch: TextBatch, rows: slice, least: Floats, rule: Rule
) -> tuple[triples.Hits, Integers, Integers]:
    """The pairs of documents and examples that may be contamination, of a slice of a batch, and those documents' hits."""
    own = TextBatch(batch.data, batch.offsets[rows.start : rows.stop + 1])
    hits = triples.find(words.hashes(own), index.lookup)
    found, examples = screen.candidates(hits, index.runs, least, rule.min_score * START_SHARE, GAP_BITS)
    is_left = np.zeros(len(own), np.bool_)
    is_left[found] = True
    which = is_left[hits.rows]
    left = triples.Hits(hits.rows[which] + np.int32(rows.start), hits.places[which], hits.found[which])
    return left, found + rows.start, examples


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _bytes_of(
    batch: TextBatch, rows: Integers, firsts: Integers, lasts: Integers
) -> tuple[Integers, Integers]:
    """Where the first word of stretches starts and the last one ends, in their texts."""
    chosen, which = np.unique(rows, return_inverse=True)
    parts = [batch.data[batch.offsets[row] : batch.offsets[row + 1]] for row in chosen.tolist()]
    sizes = np.cumsum([0, *(part.size for part in parts)])
    found = words.words(TextBatch(_joined(parts, np.uint8), sizes))
    base = found.offsets[which]
    return found.starts[base + firsts], found.ends[base + lasts]


def _is_boundary(before: bytes) -> bool:
    """Whether a sentence, a line or a quotation can begin after these bytes."""
    text = before[-8:].decode(errors="ignore")
    kept = text.rstrip(" \t")
    if not kept:
        return True
    ends_word = kept[-1].isalnum() or unicodedata.category(kept[-1])[0] == "M"
    return not (ends_word or kept[-1] in ",;-")


@kernel
def _chains(
    rows: Any,
    places: Any,
    found: Any,
    pair_rows: Any,
    pair_examples: Any,
    runs: Any,
    slots: Any,
    first_slot: Any,
    bits: Any,
    question_slots: Any,
    answer_slots: Any,
    needed: Any,
    gap_bits: float,
    reach: int,
    min_score: float,
) -> Any:
    """The best chain of every pair given, ascending by document, that scores ``min_score``."""
    examples = first_slot.size - 1
    # Of each example: the last document with a hit of it, the number of that hit, and whether it is in ``keys``.
    last_hit = np.full((examples, 3), -1, np.int32)
    wanted = np.full(examples, -1, np.int64)  # the last document of which a pair is given
    pair = 0
    longest = 0
    for number in range(examples):
        longest = max(longest, first_slot[number + 1] - first_slot[number])
    covered = np.zeros(longest, np.bool_)
    touched = np.zeros(longest + 1, np.int64)
    keys = np.empty(256, np.uint64)
    out = np.empty((64, 6), np.int64)
    out_scores = np.empty(64, np.float64)
    out_bits = np.empty((64, 3), np.float64)
    n_out = 0
    first = 0
    while first < rows.size:
        row = rows[first]
        last = first
        # Pairs of example and hit, where another hit of the example is near; sorted, each example's are in the order of
        # the text.
        total = 0
        while pair < pair_rows.size and pair_rows[pair] <= row:
            wanted[pair_examples[pair]] = pair_rows[pair]
            pair += 1
        while last < rows.size and rows[last] == row:
            run = np.int64(found[last])
            before = np.int64(-1)
            for at in range(run + 1, run + 1 + (runs[run] & 0xFF)):
                example = np.int64(runs[at])
                if example != before and wanted[example] == row:
                    hit = np.int64(last_hit[example, 1])
                    is_near = last_hit[example, 0] == row and places[last] - places[hit] <= reach
                    if is_near:
                        if total + 2 > keys.size:
                            more = np.empty(2 * keys.size, np.uint64)
                            more[:total] = keys[:total]
                            keys = more
                        base = np.uint64(example) << np.uint64(32)
                        if last_hit[example, 2] == 0:
                            keys[total] = base | np.uint64(hit - first)
                            total += 1
                        keys[total] = base | np.uint64(last - first)
                        total += 1
                    last_hit[example, 0] = row
                    last_hit[example, 1] = last
                    last_hit[example, 2] = 1 if is_near else 0
                before = example
            last += 1
        if total > 1:
            keys[:total].sort()
        begin = 0
        while begin < total:
            example = np.int64(keys[begin] >> np.uint64(32))
            end = begin
            while end < total and np.int64(keys[end] >> np.uint64(32)) == example:
                end += 1
            if end - begin < needed[example]:
                begin = end
                continue
            if n_out == out_scores.size:
                grown = np.empty((2 * n_out, 6), np.int64)
                grown[:n_out] = out
                out = grown
                grown_scores = np.empty(2 * n_out, np.float64)
                grown_scores[:n_out] = out_scores
                out_scores = grown_scores
                grown_bits = np.empty((2 * n_out, 3), np.float64)
                grown_bits[:n_out] = out_bits
                out_bits = grown_bits
            # Twice: to find the best chain, then to say what it has.
            best, best_begin, best_end = _walk(
                keys, begin, end, first, places, found, runs, slots, example, first_slot[example], bits, gap_bits,
                covered, touched,
            )  # fmt: skip
            if best >= min_score:
                _walk(
                    keys, best_begin, best_end, first, places, found, runs, slots, example, first_slot[example],
                    bits, gap_bits, covered, touched,
                )  # fmt: skip
                out_bits[n_out] = 0.0
                for at in range(touched[touched.size - 1]):
                    slot = touched[at]
                    worth = bits[first_slot[example] + slot]
                    out_bits[n_out, 0] += worth
                    if slot < question_slots[example]:
                        out_bits[n_out, 1] += worth
                    if answer_slots[example, 0] <= slot < answer_slots[example, 1]:
                        out_bits[n_out, 2] += worth
                out[n_out, 0] = row
                out[n_out, 1] = example
                out[n_out, 2] = places[first + np.int64(keys[best_begin] & np.uint64(0xFFFFFFFF))]
                out[n_out, 3] = places[first + np.int64(keys[best_end - 1] & np.uint64(0xFFFFFFFF))] + 2
                out[n_out, 4] = touched[touched.size - 1]
                out[n_out, 5] = 1 if touched[0] == 0 else 0
                out_scores[n_out] = best
                n_out += 1
            _clear(covered, touched)
            begin = end
        first = last
    return out[:n_out].copy(), out_scores[:n_out].copy(), out_bits[:n_out].copy()


@kernel
def _clear(covered: Any, touched: Any) -> None:
    """Forgets the slots that are covered; ``touched`` lists them, their number in its last place."""
    for at in range(touched[touched.size - 1]):
        covered[touched[at]] = False
    touched[touched.size - 1] = 0


@kernel
def _walk(
    keys: Any,
    begin: int,
    end: int,
    first_hit: int,
    places: Any,
    found: Any,
    runs: Any,
    slots: Any,
    example: int,
    base: int,
    bits: Any,
    gap_bits: float,
    covered: Any,
    touched: Any,
) -> Any:
    """The best chain among the hits of one pair: its score, and where in ``keys`` it begins and ends.

    At the end ``covered`` holds the words that it covers.
    """
    _clear(covered, touched)
    best, best_begin, best_end = 0.0, begin, begin
    score, chain_begin = 0.0, begin
    covered_to = np.int64(-1)  # the document's first word after those that count already
    for at in range(begin, end):
        hit = first_hit + np.int64(keys[at] & np.uint64(0xFFFFFFFF))
        place = np.int64(places[hit])
        if covered_to >= 0 and place > covered_to:
            score -= gap_bits * (place - covered_to)
        if score <= 0.0 or covered_to < 0:
            _clear(covered, touched)
            score, chain_begin, covered_to = 0.0, at, place
        new = min(np.int64(3), place + 3 - covered_to)  # its last words, which no hit before it covers
        chosen, most = np.int64(-1), -1.0
        run = np.int64(found[hit])
        for posting in range(run + 1, run + 1 + (runs[run] & 0xFF)):
            if runs[posting] == example:
                earned = 0.0
                for side in range(3 - new, 3):
                    slot = slots[posting, side]
                    if slot >= 0 and not covered[slot]:
                        earned += bits[base + slot]
                if earned > most:
                    chosen, most = np.int64(posting), earned
        for side in range(3 - new, 3):
            slot = np.int64(slots[chosen, side])
            if slot >= 0 and not covered[slot]:
                covered[slot] = True
                touched[touched[touched.size - 1]] = slot
                touched[touched.size - 1] += 1
        score += most
        covered_to = max(covered_to, place + 3)
        if score > best + 1e-9:
            best, best_begin, best_end = score, chain_begin, at + 1
    return best, best_begin, best_end
