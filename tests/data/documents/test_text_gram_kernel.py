"""The bits of blocks are those of the grams of their documents."""

from __future__ import annotations

import random

import numpy as np
import pytest

from millrace.data.documents import text_gram_kernel
from millrace.data.documents.text_grams import BLOCK_BITS, grams_of


@pytest.mark.parametrize("block_bytes", [40, 200, 1 << 16])
def test_a_block_has_the_grams_of_its_documents(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    """And no other: grams do not reach from one document into the next, and blocks do not share bits."""
    monkeypatch.setattr(text_gram_kernel, "BLOCK_BYTES", block_bytes)
    draw = random.Random(block_bytes)
    texts = ["".join(draw.choices("abc é\n\t ", k=draw.randrange(60))) for _ in range(40)]
    encoded = [text.encode() for text in texts]
    starts = np.cumsum([7, *map(len, encoded)])
    data = np.frombuffer(b"before!" + b"".join(encoded), np.uint8)
    bits = text_gram_kernel.block_bits(data, starts)
    numbers = np.unique((starts[:-1] - 7) // block_bytes, return_inverse=True)[1].tolist()
    assert bits.shape == (max(numbers) // 8 + 1, BLOCK_BITS)
    for block in range(8 * len(bits)):
        own = {
            gram
            for text, number in zip(texts, numbers, strict=True)
            if number == block
            for gram in grams_of(text)
        }
        assert set(np.flatnonzero(bits[block // 8] >> (block % 8) & 1).tolist()) == own


def test_no_document_is_no_block() -> None:
    assert text_gram_kernel.block_bits(np.zeros(0, np.uint8), np.zeros(1, np.int64)).shape == (0, BLOCK_BITS)
