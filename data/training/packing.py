"""Packing: several short examples in one training row, so that little of a batch is padding.

Chats of 50 to 200 tokens in rows of 256 are half padding when each has its own row. Packed, nine tenths are text, and
all batches have one shape, which compiles once. Examples in a row do not attend to each other: each has a segment
number, and its positions start at 0. Rows cut from a stream hold parts of documents: ``segments`` tells these apart in
the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OPEN_ROWS = 64


def pack(lengths: Sequence[int], order: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Distributes examples over rows, first fit among the rows last opened.

    Args:
        lengths: Tokens of each example, each at most ``row_tokens``.
        order: Indices of the examples in the order in which to place them.
        row_tokens: Room of a row.

    Returns:
        The examples' indices row by row. Rows are in the order in which they were opened, so a permuted ``order``
        permutes what is learnt when.

    Raises:
        ValueError: An example is longer than a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in order:
        length = lengths[index]
        if length > row_tokens:
            raise ValueError(f"got an example of {length} tokens, expected at most {row_tokens}")
        for row in range(max(len(rows) - OPEN_ROWS, 0), len(rows)):
            if room[row] >= length:
                rows[row].append(index)
                room[row] -= length
                break
        else:
            rows.append([index])
            room.append(row_tokens - length)
    return rows


def fill(
    examples: Sequence[tuple[Sequence[int], Sequence[bool]]],
    rows: Sequence[Sequence[int]],
    batch_size: int,
    row_tokens: int,
    pad_id: int,
) -> dict[str, np.ndarray]:
    """The arrays of one batch of packed rows.

    Args:
        examples: Token ids of each example, and which of them are to be learnt.
        rows: Indices of the examples in each row; at most ``batch_size`` rows, the others stay empty.
        batch_size: B.
        row_tokens: T + 1.
        pad_id: Fills the rest of a row.

    Returns:
        ``tokens`` int32 and ``learn`` bool, [B, T+1]; ``segments`` int32 [B, T+1], 1, 2 ... and 0 for padding;
        ``positions`` int32 [B, T] within the segment.
    """
    shape = (batch_size, row_tokens)
    tokens, segments = np.full(shape, pad_id, np.int32), np.zeros(shape, np.int32)
    positions, learn = np.zeros(shape, np.int32), np.zeros(shape, bool)
    for line, row in enumerate(rows):
        start = 0
        for segment, index in enumerate(row, 1):
            ids, answer = examples[index]
            span = slice(start, start + len(ids))
            tokens[line, span] = ids
            learn[line, span] = answer
            segments[line, span] = segment
            positions[line, span] = np.arange(len(ids))
            # The first token has nothing before it in its segment to be predicted from.
            learn[line, start] = False
            start += len(ids)
    return {"tokens": tokens, "learn": learn, "segments": segments, "positions": positions[:, :-1]}


def segments(starts: np.ndarray, first: int, row_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """The document of each token of a stream's row, for attention that stays inside documents.

    The boundary token ends a document as a target and begins the next one as an input, as it does when the model writes
    or is scored: so every document's first token is learnt, from the boundary token alone.

    Args:
        starts: Where each document of the stream begins, rising, int64 [documents].
        first: The row's first token in the stream.
        row_tokens: T + 1.

    Returns:
        ``segments`` int32 [T+1], from 1, and ``positions`` int32 [T], from 0 with each segment (also where the row
        begins inside a document). Both are of tokens as inputs.
    """
    low, high = np.searchsorted(starts, (first + 2, first + 1 + row_tokens))
    begins = starts[low:high] - 1 - first
    begun, origins = np.zeros(row_tokens, np.int32), np.zeros(row_tokens, np.int32)
    begun[begins] = 1
    origins[begins] = begins
    positions = np.arange(row_tokens, dtype=np.int32) - np.maximum.accumulate(origins)
    return 1 + np.cumsum(begun, dtype=np.int32), positions[:-1]
