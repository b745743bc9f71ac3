"""Document ids of many records at once: BLAKE2b over columns, without a Python call for each.

``documents.document_id`` says what an id is; this gives the same ids for all records of one file, at some 3 million a
second where hashlib makes half a million and holds the GIL.

References:
    RFC 7693, The BLAKE2 Cryptographic Hash (sections 2.6 constants, 2.7 schedule, 3.1 mixing, 3.2 compression).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from millrace.data.text.kernels import kernel

DIGEST_BYTES = 16
_START = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    np.uint64,
)
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)
_MIXED = np.array(
    [
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 5, 10, 15],
        [1, 6, 11, 12],
        [2, 7, 8, 13],
        [3, 4, 9, 14],
    ],
    np.int64,
)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def document_ids(uri: str, keys: Any) -> Any:
    """The ids of records of one file.

    Args:
        uri: Where the file is.
        keys: Key of each record, pyarrow string array [records] without nulls.

    Returns:
        pyarrow string array [records]: ``document_id(uri, key)`` for each key.
    """
    keys = keys.cast(pa.large_string())
    _, offsets, data = keys.buffers()
    starts = np.frombuffer(offsets, np.int64)[keys.offset : keys.offset + len(keys) + 1]
    prefix = np.frombuffer(f"{uri}\n".encode(), np.uint8)
    out = np.empty((len(keys), 2 * DIGEST_BYTES), np.uint8)
    _hash_rows(prefix, np.frombuffer(data or b"", np.uint8), starts, _START, _ORDER, _MIXED, _HEX, out)
    places = np.arange(len(keys) + 1, dtype=np.int32) * (2 * DIGEST_BYTES)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(places), pa.py_buffer(out))


@kernel
def _hash_rows(
    prefix: np.ndarray,
    data: np.ndarray,
    starts: np.ndarray,
    start_state: np.ndarray,
    order: np.ndarray,
    mixed: np.ndarray,
    digits: np.ndarray,
    out: np.ndarray,
) -> None:
    """Writes the hex digest of prefix + row for every row into ``out``, uint8 [rows, 32]."""
    words = np.empty(16, np.uint64)
    v = np.empty(16, np.uint64)
    h = np.empty(8, np.uint64)
    before = prefix.size
    for row in range(starts.size - 1):
        first = starts[row]
        size = before + starts[row + 1] - first
        h[:] = start_state
        h[0] ^= np.uint64(0x01010000 ^ 16)
        done = 0
        while True:
            words[:] = 0
            count = min(128, size - done)
            for i in range(count):
                at = done + i
                byte = prefix[at] if at < before else data[first + at - before]
                words[i >> 3] |= np.uint64(byte) << np.uint64(8 * (i & 7))
            done += count
            v[:8] = h
            v[8:] = start_state
            v[12] ^= np.uint64(done)
            if done == size:
                v[14] = ~v[14]
            for turn in range(12):
                for g in range(8):
                    a, b, c, d = mixed[g, 0], mixed[g, 1], mixed[g, 2], mixed[g, 3]
                    v[a] += v[b] + words[order[turn % 10, 2 * g]]
                    x = v[d] ^ v[a]
                    v[d] = (x >> np.uint64(32)) | (x << np.uint64(32))
                    v[c] += v[d]
                    x = v[b] ^ v[c]
                    v[b] = (x >> np.uint64(24)) | (x << np.uint64(40))
                    v[a] += v[b] + words[order[turn % 10, 2 * g + 1]]
                    x = v[d] ^ v[a]
                    v[d] = (x >> np.uint64(16)) | (x << np.uint64(48))
                    v[c] += v[d]
                    x = v[b] ^ v[c]
                    v[b] = (x >> np.uint64(63)) | (x << np.uint64(1))
            for i in range(8):
                h[i] ^= v[i] ^ v[i + 8]
            if done == size:
                break
        for i in range(16):
            value = (h[i >> 3] >> np.uint64(8 * (i & 7))) & np.uint64(255)
            out[row, 2 * i] = digits[value >> np.uint64(4)]
            out[row, 2 * i + 1] = digits[value & np.uint64(15)]
