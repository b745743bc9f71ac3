"""The tokenizer: SentencePiece's training, its ids from compiled code, its cost in each language."""

from .tokenizer import Tokenizer

__all__ = ["Tokenizer"]
