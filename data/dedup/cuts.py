"""Cuts spans out of texts so that the rest reads as if they had never been there.

Spans that touch, or have only white space between them, are one cut. Of the white space before and after a cut one
stays: the one with more line breaks, of equals the one after; the next line keeps its indentation. All else stays byte
for byte.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from millrace.data.text.batch import BYTE_TABLES, TextBatch
from millrace.data.text.kernels import kernel
from millrace.data.text.simd import copy_bytes

from .units import Integers


class Runs(NamedTuple):
    """Runs of units that are to go, in the order of the texts.

    Attributes:
        firsts: First unit of each, int64 [runs].
        ends: After the last one.
        sources: The window that each run begins with, as its place among the windows given, int64 [runs].
    """

    firsts: Integers
    ends: Integers
    sources: Integers


class Cuts(NamedTuple):
    """The spans cut from the texts of a batch, in the order of the texts.

    Attributes:
        rows: The text of each cut, int64 [cuts].
        starts: First byte of each, within the batch's data, int64 [cuts].
        ends: Its end, exclusive.
        leaders: The longest span of those that make the cut, as its place among the spans given, int64 [cuts].
    """

    rows: Integers
    starts: Integers
    ends: Integers
    leaders: Integers


def runs(places: Integers, skipped: Integers, size: int) -> Runs:
    """The units that windows cover; windows that overlap make one run.

    Args:
        places: First unit of each window, ascending, int64 [windows].
        skipped: How many of its first units stay, int64 [windows].
        size: Units per window.
    """
    return Runs(*_runs(places, skipped, size))


def cuts(batch: TextBatch, rows: Integers, starts: Integers, ends: Integers) -> Cuts:
    """The byte ranges to remove from a batch's texts so that the spans are gone.

    Args:
        batch: The texts.
        rows: The text of each span, int64 [spans].
        starts: First byte of each span, within the batch's data, int64 [spans].
        ends: Its end, exclusive; neither the first nor the last byte of a span is white space.
    """
    order = np.argsort(starts, kind="stable")
    merged_rows, merged_starts, merged_ends, leaders = _cuts(
        batch.data, batch.offsets, rows[order], starts[order], ends[order], BYTE_TABLES.space
    )
    return Cuts(merged_rows, merged_starts, merged_ends, order[leaders])


def without(batch: TextBatch, found: Cuts) -> TextBatch:
    """The batch's texts with the cuts taken out."""
    if not found.rows.size:
        return batch
    return TextBatch(*_without(batch.data, batch.offsets, found.rows, found.starts, found.ends))


@kernel
def _runs(places: Any, skipped: Any, size: int) -> Any:
    firsts = np.empty(places.size, np.int64)
    ends = np.empty(places.size, np.int64)
    sources = np.empty(places.size, np.int64)
    count = 0
    for window in range(places.size):
        first, end, source = places[window] + skipped[window], places[window] + size, window
        # Ends ascend and firsts need not: a later window can cut from further back than earlier ones did.
        while count and ends[count - 1] > first:
            count -= 1
            if firsts[count] <= first:
                first, source = firsts[count], sources[count]
        firsts[count] = first
        ends[count] = end
        sources[count] = source
        count += 1
    return firsts[:count], ends[:count], sources[:count]


@kernel
def _cuts(data: Any, offsets: Any, rows: Any, starts: Any, ends: Any, space: Any) -> Any:
    out_rows = np.empty(rows.size, np.int64)
    out_starts = np.empty(rows.size, np.int64)
    out_ends = np.empty(rows.size, np.int64)
    leaders = np.empty(rows.size, np.int64)
    count = 0
    for span in range(rows.size):
        is_joined = count > 0 and out_rows[count - 1] == rows[span]
        if is_joined:
            for at in range(out_ends[count - 1], starts[span]):
                if not space[data[at]]:
                    is_joined = False
                    break
        if is_joined:
            leader = leaders[count - 1]
            if ends[span] - starts[span] > ends[leader] - starts[leader]:
                leaders[count - 1] = span
            out_ends[count - 1] = max(out_ends[count - 1], ends[span])
        else:
            out_rows[count] = rows[span]
            out_starts[count] = starts[span]
            out_ends[count] = ends[span]
            leaders[count] = span
            count += 1
    for cut in range(count):
        begin, end = offsets[out_rows[cut]], offsets[out_rows[cut] + 1]
        before, after = out_starts[cut], out_ends[cut]
        breaks_before, breaks_after = 0, 0
        while before > begin and space[data[before - 1]]:
            before -= 1
            breaks_before += data[before] == 10
        while after < end and space[data[after]]:
            breaks_after += data[after] == 10
            after += 1
        if before == begin and after == end:
            out_starts[cut], out_ends[cut] = begin, end
        elif before > begin and (after == end or breaks_after >= breaks_before):
            out_starts[cut] = before
        else:
            if breaks_after:
                while data[after - 1] != 10:
                    after -= 1
                start = out_starts[cut]
                while start > begin and space[data[start - 1]] and data[start - 1] != 10:
                    start -= 1
                out_starts[cut] = start
            if before == begin:
                out_starts[cut] = begin
            out_ends[cut] = after
    return out_rows[:count], out_starts[:count], out_ends[:count], leaders[:count]


@kernel
def _without(data: Any, offsets: Any, rows: Any, starts: Any, ends: Any) -> Any:
    gone = np.int64(0)
    for cut in range(rows.size):
        gone += ends[cut] - starts[cut]
    out = np.empty(offsets[-1] - offsets[0] - gone, np.uint8)
    new_offsets = np.zeros(offsets.size, np.int64)
    cut, written = 0, 0
    for row in range(offsets.size - 1):
        at = offsets[row]
        while cut < rows.size and rows[cut] == row:
            size = starts[cut] - at
            copy_bytes(out, written, data, at, size)
            written += size
            at = ends[cut]
            cut += 1
        size = offsets[row + 1] - at
        copy_bytes(out, written, data, at, size)
        written += size
        new_offsets[row + 1] = written
    return out, new_offsets
