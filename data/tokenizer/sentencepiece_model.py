"""Reads the fields of a serialized SentencePiece model from its bytes.

The file is a protocol buffer. SentencePiece's own Python classes for it demand a newer protobuf runtime than Beam and
kfp allow, and its processor does not tell piece types or normalisation, so the few fields that matter are read here.

References:
    ``src/sentencepiece_model.proto`` of SentencePiece 0.2: field numbers, types and defaults; "Encoding" of
    protobuf.dev: the wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
ALGORITHMS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


class Piece(NamedTuple):
    """One id of a vocabulary.

    Attributes:
        text: Its spelling, with U+2581 for a space.
        score: Log probability (unigram), or minus the rank of the merge (BPE).
        kind: ``NORMAL``, ``UNKNOWN``, ``CONTROL``, ``USER_DEFINED``, ``UNUSED`` or ``BYTE``.
    """

    text: str
    score: float
    kind: int


class Model(NamedTuple):
    """A SentencePiece model.

    Attributes:
        pieces: By id.
        algorithm: ``unigram``, ``bpe``, ``word`` or ``char``.
        byte_fallback: Characters without a piece are spelt in bytes.
        plain: Text is encoded as it is, spaces written as U+2581: nothing normalised, added or removed.
    """

    pieces: tuple[Piece, ...]
    algorithm: str
    byte_fallback: bool
    plain: bool


def parse(model: bytes) -> Model:
    """Reads a serialized model.

    Raises:
        ValueError: The bytes are not one.
    """
    pieces: list[Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for number, value in _fields(model):
            if number == 1:
                own = dict(_fields(value))
                pieces.append(Piece(own[1].decode(), own.get(2, 0.0), own.get(3, NORMAL)))
            elif number == 2:
                trainer = dict(_fields(value))
            elif number == 3:
                normalizer = dict(_fields(value))
        algorithm = ALGORITHMS[trainer.get(3, 1)]
    except (IndexError, KeyError, AttributeError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("got bytes that are not a SentencePiece model") from error
    plain = (
        not normalizer.get(2)  # the compiled character map
        and not normalizer.get(3, 1)  # add_dummy_prefix
        and not normalizer.get(4, 1)  # remove_extra_whitespaces
        and bool(normalizer.get(5, 1))  # escape_whitespaces
    )
    return Model(tuple(pieces), algorithm, bool(trainer.get(35, 0)), plain)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values: integers, floats, or the bytes of strings and messages."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: Any
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
            case 1:
                (value,), at = struct.unpack_from("<d", data, at), at + 8
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise IndexError(at)
                value, at = data[at : at + size], at + size
            case 5:
                (value,), at = struct.unpack_from("<f", data, at), at + 4
            case _:
                raise KeyError(tag)
        yield tag >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
