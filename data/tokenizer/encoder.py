"""Encoding a corpus: SentencePiece's ids for whole shards of documents, several times as fast.

``Tokenizer`` encodes a prompt; this encodes gigabytes, by looking up words (see ``word_encoder``). The ids are those of
SentencePiece 0.2.3, to the last one, whatever version is installed. Where a vocabulary does not allow it, SentencePiece
itself does the work, at its own rate.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from millrace.data.text.batch import from_arrow
from millrace.data.training.streams import token_dtype

from .encoder_tables import encoder_tables
from .sentencepiece_model import parse
from .tokenizer import MODEL_FILE, Tokenizer
from .word_encoder import WordEncoder

WORD_SLOTS = 2**20  # half of them get used: 0.5 million words in 75 MB, more than 400 MB of prose have


class CorpusEncoder:
    """Encodes columns of texts; several threads may use one encoder.

    Attributes:
        tokenizer: The same vocabulary for single texts.
        is_compiled: Whether words are looked up; else SentencePiece does all the work.
    """

    def __init__(self, folder: Path) -> None:
        """Makes an encoder of a ``tokenizer`` artifact."""
        self.tokenizer = Tokenizer.load(folder)
        self._dtype = token_dtype(self.tokenizer.vocab_size)
        tables = encoder_tables(parse((folder / MODEL_FILE).read_bytes()))
        self.is_compiled = tables is not None
        self._words = tables and WordEncoder(tables, self.tokenizer.eos_id, self._dtype, WORD_SLOTS)

    def encode(self, texts: Any, threads: int = 1) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The tokens of texts one after the other, each text followed by the boundary token.

        Args:
            texts: A pyarrow array or chunked array of strings without nulls.
            threads: How many threads SentencePiece may use where it does the work.

        Returns:
            Ids in ``token_dtype`` of the vocabulary, and how many each text has, boundary included.
        """
        if self._words is not None:
            return self._words.encode(from_arrow(texts))
        encoded = self.tokenizer.encode_batch(texts.to_pylist(), threads)
        parts = [np.array([*ids, self.tokenizer.eos_id], self._dtype) for ids in encoded]
        lengths = np.array([part.size for part in parts], np.int64)
        return np.concatenate([np.empty(0, self._dtype), *parts]), lengths


@lru_cache(maxsize=1)
def shared_encoder(folder: str) -> CorpusEncoder:
    """The encoder of this process for a ``tokenizer`` artifact, so that shards profit from words of earlier ones."""
    return CorpusEncoder(Path(folder))
