"""The bits of the grams of many documents at once, at some 150 MB a second and core; ``text_grams`` defines them."""

from __future__ import annotations

import numpy as np

from millrace.data.text.hashing import GOLDEN
from millrace.data.text.kernels import kernel

from .text_grams import BLOCK_BITS, BLOCK_BYTES, GRAM_BYTES, SHIFT


def block_bits(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The bits of blocks of documents that follow each other and have some ``BLOCK_BYTES`` together.

    Args:
        data: UTF-8 bytes of all documents, uint8.
        starts: Where each document begins in them, and where the last one ends, int64 [documents + 1].

    Returns:
        uint8 [columns, BLOCK_BITS]: a column is eight blocks, a bit of each byte for each of them.
    """
    blocks = np.unique((starts[:-1] - starts[0]) // BLOCK_BYTES, return_inverse=True)[1]
    out = np.zeros((int(blocks[-1]) // 8 + 1 if blocks.size else 0, BLOCK_BITS), np.uint8)
    mask = np.uint64((1 << 8 * GRAM_BYTES) - 1)
    _set_grams(data, starts, blocks, mask, np.uint64(SHIFT), GRAM_BYTES, out)
    return out


@kernel
def _set_grams(
    data: np.ndarray,
    starts: np.ndarray,
    blocks: np.ndarray,
    mask: np.uint64,
    shift: np.uint64,
    gram_bytes: int,
    out: np.ndarray,
) -> None:
    for document in range(starts.size - 1):
        row = out[blocks[document] >> 3]
        bit = np.uint8(1 << (blocks[document] & 7))
        gram = np.uint64(0)
        size = 0
        after_space = False
        for at in range(starts[document], starts[document + 1]):
            byte = data[at]
            if byte == 32 or byte == 9 or byte == 10 or byte == 12 or byte == 13:
                if after_space:
                    continue
                after_space = True
                byte = np.uint8(32)
            else:
                after_space = False
            gram = ((gram << np.uint64(8)) | np.uint64(byte)) & mask
            size += 1
            if size >= gram_bytes:
                row[(gram * GOLDEN) >> shift] |= bit
