"""Makes copies of benchmark examples as they turn up in documents, to test a search for contamination.

A copy is an example in one of the layouts that people print questions in, then changed in one way: not at all, in its
case, its punctuation, its white space (with characters that do not show), cut to its beginning, with words left out.
``shuffled`` has the same words in a random order and is no copy: it shows the effect of common words alone.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Sequence

COPIES = ("verbatim", "case", "punctuation", "whitespace")
"""Kinds that any reader would call the same text."""

KINDS = (*COPIES, "truncated_40", "dropped_10", "dropped_20", "dropped_30", "shuffled")
_UNSEEN = "\u200b\u200c\u200d\u2060\ufeff\u00ad"


def layout(fields: Sequence[str], answer: int, draw: random.Random) -> str:
    """An example as one text.

    Args:
        fields: Its question and its choices, or its question and its answer, or a text alone.
        answer: Number of the field that is the right answer, 0 for none.
        draw: Chooses the layout.
    """
    question, right = fields[0], fields[answer]
    if answer == 0:
        return question
    style = draw.randrange(4 if len(fields) > 2 else 2)
    if style == 0:
        return f"{question} {right}"
    if style == 1:
        return f"Question: {question}\nAnswer: {right}"
    if style == 2:
        choices = "\n".join(f"{chr(65 + at)}. {text}" for at, text in enumerate(fields[1:]))
        return f"{question}\n{choices}\nAnswer: {chr(64 + answer)}"
    choices = "\n".join(f"({chr(97 + at)}) {text}" for at, text in enumerate(fields[1:]))
    return f"Q: {question}\n{choices}\nThe answer is {right}"


def changed(text: str, kind: str, draw: random.Random) -> str:
    """A text changed in one of the ``KINDS``."""
    return _CHANGES[kind](text, draw)


def insert(host: str, text: str, draw: random.Random) -> str:
    """A document with a text in it, as lines of their own after a sentence or line, or at its start."""
    places = [0, *(match.end() for match in re.finditer(r"[.!?\n]\s", host))]
    at = draw.choice(places)
    return f"{host[:at]}\n{text}\n{host[at:]}"


def _case(text: str, draw: random.Random) -> str:
    return draw.choice([str.upper, str.lower, str.swapcase])(text)


def _punctuation(text: str, draw: random.Random) -> str:
    style = draw.randrange(3)
    if style < 2:
        return re.sub(r"[^\w\s]", lambda found: _without_punctuation(found[0], " " * style), text)
    return re.sub(r"(?<=\w)(?=\s)", lambda _: draw.choice([",", ";", " -", ".", ":", ""]), text)


def _without_punctuation(character: str, instead: str) -> str:
    """Marks and joiners belong to a word as its letters do."""
    kind = unicodedata.category(character)
    return character if kind[0] == "M" or kind == "Cf" else instead


def _whitespace(text: str, draw: random.Random) -> str:
    if draw.randrange(2):
        return re.sub(r"\s+", lambda _: draw.choice(["\n", "  ", "\t", "\u00a0", " \n "]), text)
    return re.sub(r"(?<=\w)(?=\w)", lambda _: draw.choice(_UNSEEN) if draw.random() < 0.3 else "", text)


def _truncated(text: str, share: float) -> str:
    words = re.findall(r"\S+\s*", text)
    return "".join(words[: max(1, round(len(words) * share))])


def _dropped(text: str, share: float, draw: random.Random) -> str:
    return "".join(word for word in re.findall(r"\S+\s*", text) if draw.random() >= share)


def _shuffled(text: str, draw: random.Random) -> str:
    words = text.split()
    draw.shuffle(words)
    return " ".join(words)


_CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "verbatim": lambda text, _: text,
    "case": _case,
    "punctuation": _punctuation,
    "whitespace": _whitespace,
    "truncated_40": lambda text, _: _truncated(text, 0.4),
    "dropped_10": lambda text, draw: _dropped(text, 0.1, draw),
    "dropped_20": lambda text, draw: _dropped(text, 0.2, draw),
    "dropped_30": lambda text, draw: _dropped(text, 0.3, draw),
    "shuffled": _shuffled,
}
