"""The places of words and lines in texts: the arrays that splitting fills and rules read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Structure(NamedTuple):
    """The words and lines of a batch. Places are bytes within their text, ends exclusive.

    Attributes:
        characters: Of each text, int64 [documents].
        first_words: First word of each text and the end of the last, int64 [documents + 1].
        word_hashes: uint64 [words].
        word_starts: int32 [words].
        word_ends: int32 [words].
        word_characters: int32 [words].
        word_kinds: Sums of the constants of ``characters`` below 256: what any of a word's characters is, uint8 [words].
        first_lines: First line of each text and the end of the last, int64 [documents + 1].
        line_starts: int32 [lines].
        line_ends: int32 [lines].
        line_words: Words in each line, int32 [lines]; a line without is blank.
        line_characters: int32 [lines], white space included.
        line_hashes: Of all of a line's bytes, uint64 [lines].
        outer_hashes: Hash of a text's first line with words without the white space before them, and of the last
            without what follows them, uint64 [documents, 2].
        first_breaks: First break of each text and the end of the last, int64 [documents + 1].
        break_starts: int32 [breaks].
        break_ends: int32 [breaks].
        break_words: First word of each break, counted from the text's first, int32 [breaks].
    """

    characters: np.ndarray
    first_words: np.ndarray
    word_hashes: np.ndarray
    word_starts: np.ndarray
    word_ends: np.ndarray
    word_characters: np.ndarray
    word_kinds: np.ndarray
    first_lines: np.ndarray
    line_starts: np.ndarray
    line_ends: np.ndarray
    line_words: np.ndarray
    line_characters: np.ndarray
    line_hashes: np.ndarray
    outer_hashes: np.ndarray
    first_breaks: np.ndarray
    break_starts: np.ndarray
    break_ends: np.ndarray
    break_words: np.ndarray
