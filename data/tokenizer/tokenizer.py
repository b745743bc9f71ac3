"""Text to token ids and back, and the one place that knows how a chat is written in tokens.

A SentencePiece model (Kudo & Richardson 2018) does the work; this module adds:

- Every valid UTF-8 text comes back unchanged. SentencePiece writes a space as U+2581 inside its pieces, so a U+2581 of
  the text itself would come back as a space; such characters are encoded here as their three byte tokens.
- Control tokens (``<|user|>`` ...) are control pieces, which the encoder never produces from text. A document or a
  user who types ``<|system|>`` gets the ordinary tokens of that spelling, so nobody can forge a turn.
- One token marks the boundary of documents. A stream puts it after each document, so it is also what stands before
  one: ``bos_id`` equals ``eos_id``, and a prompt that begins with it looks to the model like the start of a document.

A ``tokenizer`` artifact holds ``tokenizer.model`` and ``tokenizer.json``.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sentencepiece

MODEL_FILE = "tokenizer.model"
FACTS_FILE = "tokenizer.json"
ROLES = ("system", "user", "assistant")
CHAT_TOKENS = (*(f"<|{role}|>" for role in ROLES), "<|end|>")
SPEAKS_AS = {"developer": "system", "tool": "user"}
"""Roles that vocabularies need no token for: whose token they get where none is called <|developer|> or <|tool|>."""
CHARACTER_BYTES = 4  # the longest character in UTF-8
SPACE_MARK = "\u2581"  # SentencePiece's own spelling of a space


def reserved_tokens(count: int) -> tuple[str, ...]:
    """Names of control tokens without a meaning yet, kept free so that later stages need no new vocabulary."""
    return tuple(f"<|reserved_{index}|>" for index in range(count))


def modality_tokens(names: Iterable[str]) -> tuple[str, ...]:
    """Control tokens of modalities: for each, where it begins, the place of one of its embeddings, where it ends."""
    return tuple(f"<|{name}{part}|>" for name in names for part in ("_begin", "", "_end"))


class Tokenizer:
    """A trained vocabulary.

    Attributes:
        vocab_size: Number of ids; every id is in [0, vocab_size).
        eos_id: The token after every document.
        bos_id: The token before a prompt; the same as ``eos_id``.
        pad_id: Fills batches; never inside a document.
        unk_id: Required by SentencePiece; byte fallback means that no text ever encodes to it.
        special: Control token -> id.
        byte_ids: The id of each single byte, by its value.
        chat_stop_ids: Ids that end an assistant's turn.
        sha256: Digest of the pieces and control tokens: equal where every id means the same.
    """

    def __init__(self, model: bytes, special: Iterable[str]) -> None:
        """Makes a tokenizer of a serialized SentencePiece model and the names of its control tokens.

        Raises:
            ValueError: The model lacks a control token or byte fallback.
        """
        special = tuple(special)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._processor = processor
        self.sha256: str = hashlib.sha256(model + json.dumps(sorted(special)).encode()).hexdigest()
        self.vocab_size: int = processor.vocab_size()
        self.pad_id: int = processor.pad_id()
        self.eos_id: int = processor.eos_id()
        self.bos_id: int = self.eos_id
        self.unk_id: int = processor.unk_id()
        self.special: dict[str, int] = {}
        for name in special:
            token_id = processor.piece_to_id(name)
            if token_id == self.unk_id or not processor.is_control(token_id):
                raise ValueError(f"got a vocabulary without the control token {name}")
            self.special[name] = token_id
        self.chat_stop_ids: tuple[int, ...] = (self.special["<|end|>"], self.eos_id)
        self.byte_ids: tuple[int, ...] = tuple(
            processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)
        )
        self._space_mark_ids = [self.byte_ids[byte] for byte in SPACE_MARK.encode()]
        if self.unk_id in self.byte_ids:
            raise ValueError("got a vocabulary without byte tokens, expected one trained with byte fallback")

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a ``tokenizer`` artifact (or of a package, which holds the same two files)."""
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return cls((folder / MODEL_FILE).read_bytes(), facts["special"])

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without any boundary or control token."""
        return self.encode_batch([text], threads=1)[0]

    def encode_batch(self, texts: Sequence[str], threads: int = 1) -> list[list[int]]:
        """The token ids of many texts, by SentencePiece's own threads.

        Args:
            texts: Any texts; the result does not depend on which others are in the batch.
            threads: How many threads encode.
        """
        encoded: list[list[int]] = self._processor.encode(list(texts), out_type=int, num_threads=threads)
        for index, text in enumerate(texts):
            if SPACE_MARK in text:
                encoded[index] = self._encode_around_space_marks(text)
        return encoded

    def _encode_around_space_marks(self, text: str) -> list[int]:
        first, *rest = self._processor.encode(text.split(SPACE_MARK), out_type=int, num_threads=1)
        ids = list(first)
        for part in rest:
            ids += self._space_mark_ids
            ids += part
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; control and boundary tokens give nothing, broken byte runs give U+FFFD."""
        text: str = self._processor.decode([int(token_id) for token_id in ids])
        return text

    def decode_cut(self, ids: Sequence[int]) -> str:
        """The text of an answer that may have run out of tokens: without a character that its end leaves unfinished."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token_id in ids[-CHARACTER_BYTES:]:
            added = self.token_bytes[token_id]
            decoder.decode(added, final=not added)
        unfinished_bytes = len(
            decoder.getstate()[0]
        )  # each a token of its own: learnt ones end with a character
        return self.decode(ids[: len(ids) - unfinished_bytes])

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """The UTF-8 bytes that each id adds to a text, by id; a control token adds none."""

        def added(token_id: int) -> bytes:
            if self._processor.is_byte(token_id):
                return bytes([self.byte_ids.index(token_id)])
            if self._processor.is_control(token_id):
                return b""
            return self.decode([token_id]).encode()

        return tuple(map(added, range(self.vocab_size)))

    @cached_property
    def token_names(self) -> tuple[str, ...]:
        r"""A text for each id that no other id has, by id.

        It is the token's own text where that tells it from all others. A byte that is no character, or one that a
        learnt token spells too, is ``bytes:\xf0``, as OpenAI writes it; a control token has its name.
        """
        learnt = {
            text for token_id, text in enumerate(self.token_bytes) if not self._processor.is_byte(token_id)
        }

        def name(token_id: int) -> str:
            own = self.token_bytes[token_id]
            if self._processor.is_byte(token_id):
                return own.decode() if own.isascii() and own not in learnt else f"bytes:\\x{own[0]:02x}"
            if self._processor.is_control(token_id) or token_id == self.unk_id:
                return str(self._processor.id_to_piece(token_id))
            return own.decode()

        return tuple(map(name, range(self.vocab_size)))

    def render_chat(
        self, messages: Sequence[Mapping[str, str]], generate: bool = False
    ) -> tuple[list[int], list[bool]]:
        """A conversation as tokens: the boundary token, then for each message its role token, content and ``<|end|>``.

        Args:
            messages: ``{"role", "content"}`` in order; the role is one of ``ROLES``, or of ``SPEAKS_AS``, which have a
                token of their own where the vocabulary was given one.
            generate: Append the assistant's role token, so that the model goes on with an answer.

        Returns:
            The ids, and for each whether it is part of an answer: an assistant's content or its closing ``<|end|>``,
            the part that supervised training learns and the model itself writes.

        Raises:
            ValueError: A message has a role that chats do not have.
        """
        ids, answer = [self.bos_id], [False]
        for message in messages:
            role = message["role"]
            if role not in ROLES and role not in SPEAKS_AS:
                raise ValueError(f"got the role {role!r}, expected one of {', '.join((*ROLES, *SPEAKS_AS))}")
            content = self.encode(message["content"])
            begin = self.special.get(f"<|{role}|>") or self.special[f"<|{SPEAKS_AS[role]}|>"]
            ids += [begin, *content, self.special["<|end|>"]]
            answer += [False] + [role == "assistant"] * (len(content) + 1)
        if generate:
            ids.append(self.special["<|assistant|>"])
            answer.append(False)
        return ids, answer


def write(folder: Path, model: bytes, special: Sequence[str], facts: Mapping[str, Any]) -> Tokenizer:
    """Writes a ``tokenizer`` artifact.

    Args:
        folder: Where to; exists.
        model: The serialized SentencePiece model.
        special: Names of its control tokens.
        facts: Further facts for ``tokenizer.json`` (algorithm, fertility); JSON values.

    Returns:
        The tokenizer that was written.
    """
    tokenizer = Tokenizer(model, special)
    (folder / MODEL_FILE).write_bytes(model)
    record = {
        **facts,
        "vocab_size": tokenizer.vocab_size,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "pad_id": tokenizer.pad_id,
        "unk_id": tokenizer.unk_id,
        "special": tokenizer.special,
    }
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / FACTS_FILE).write_text(text + "\n", encoding="utf-8")
    return tokenizer
