"""Consecutive passages of a prose document: a prompt and its true continuation.

Paragraphs where the text has them, else runs of sentences. Each is cut at a sentence's end, or a word's when a
sentence is too long, so that a cut tells nothing about which continuation is true.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass

# After a full stop with space behind, or after a CJK one, which has none.
SENTENCE_END = re.compile(r"(?<=[.!?][\"')\]])\s+|(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")
MIN_CHARACTERS = 60
# Words that thousands of files share: a question about them would be in every training set.
BOILERPLATE = re.compile(
    r"licensed under|permission is hereby granted|redistribution and use|without warrant|\bas is\b|"
    r"all rights reserved|copyright \(c\)|apache license|you may not use this file",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Passage:
    """A passage and what follows it in the same document.

    Attributes:
        place: Number of the passage in its document.
        before: The passage.
        after: The start of the next one.
    """

    place: int
    before: str
    after: str


def passages(text: str, *, max_before_characters: int, max_after_characters: int) -> list[Passage]:
    """The passages of a document that are followed by another one, in order.

    Args:
        text: The document.
        max_before_characters: Longer passages keep their end.
        max_after_characters: Longer continuations keep their start.
    """
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    parts = [part for part in parts if len(part) >= MIN_CHARACTERS and is_prose(part)]
    if len(parts) < 2:
        parts = _runs(" ".join(text.split()), max(MIN_CHARACTERS, max_after_characters // 2))
    found = []
    for place, (before, after) in enumerate(itertools.pairwise(parts)):
        start, end = keep_start(after, max_after_characters), keep_end(before, max_before_characters)
        if len(start) >= MIN_CHARACTERS and len(end) >= MIN_CHARACTERS:
            found.append(Passage(place, end, start))
    return found


def is_prose(text: str) -> bool:
    """Whether a passage is sentences of its own rather than a table, code, a list of links or part of a licence."""
    letters = sum(
        character.isalpha() or character == " " or unicodedata.category(character)[0] == "M"
        for character in text
    )
    return letters >= 0.8 * len(text) and "://" not in text and not BOILERPLATE.search(text)


def without_boilerplate(text: str) -> str:
    """A prose document without the paragraphs that belong to licences."""
    return "\n\n".join(part for part in re.split(r"\n\s*\n", text) if not BOILERPLATE.search(part))


def _runs(text: str, characters: int) -> list[str]:
    runs: list[str] = []
    for sentence in map(str.strip, SENTENCE_END.split(text)):
        if runs and len(runs[-1]) < characters:
            runs[-1] = f"{runs[-1]} {sentence}"
        else:
            runs.append(sentence)
    return [run for run in runs if len(run) >= MIN_CHARACTERS and is_prose(run)]


def keep_start(text: str, max_characters: int) -> str:
    """As many whole sentences of the start as fit, or whole words when none does."""
    if len(text) <= max_characters:
        return text
    head = text[: max_characters + 1]
    ends = [match.start() for match in SENTENCE_END.finditer(head) if match.start() >= MIN_CHARACTERS]
    cut = ends[-1] if ends else head.rfind(" ")
    return text[: cut if cut > 0 else max_characters].rstrip()


def keep_end(text: str, max_characters: int) -> str:
    """As many whole sentences of the end as fit, or whole words when none does."""
    if len(text) <= max_characters:
        return text
    tail = text[-max_characters - 1 :]
    starts = [
        match.end() for match in SENTENCE_END.finditer(tail) if len(tail) - match.end() >= MIN_CHARACTERS
    ]
    cut = starts[0] if starts else tail.find(" ") + 1
    return (tail[cut:] if cut > 0 else tail[1:]).lstrip()
