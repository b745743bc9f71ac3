"""A text whose words are exchanged for words of ASCII, one by one, has the same decisions, in every script."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pytest

from millrace.data.contamination import chains, index
from millrace.data.contamination import words as contamination_words
from millrace.data.dedup import forms, signatures, units
from millrace.data.filters import words as word_list
from millrace.data.text.batch import TextBatch, from_texts

SPACED = [
    "DEVANAGARI",
    "BENGALI",
    "TAMIL",
    "TELUGU",
    "KANNADA",
    "MALAYALAM",
    "GUJARATI",
    "GURMUKHI",
    "ORIYA",
    "SINHALA",
    "TIBETAN",
    "THAANA",
    "ARABIC",
    "HEBREW",
    "SYRIAC",
    "ETHIOPIC",
    "MONGOLIAN",
    "JAVANESE",
    "BALINESE",
    "BUGINESE",
    "CHAKMA",
    "LIMBU",
    "LEPCHA",
    "NKO",
    "VAI",
    "ARMENIAN",
    "GEORGIAN",
    "CYRILLIC",
    "GREEK",
    "LATIN",
    "HANGUL",
    "ADLAM",
]
UNSPACED = ("THAI", "LAO", "KHMER", "MYANMAR", "TAI THAM", "HIRAGANA", "KATAKANA", "CJK")
OPTIONAL = (
    "ARABIC",
    "HEBREW",
    "SYRIAC",
    "NKO",
    "ETHIOPIC",
)  # their marks are left out or put, as accents are
NUMBERS = {  # one to five
    "DEVANAGARI": "\u090f\u0915 \u0926\u094b \u0924\u0940\u0928 \u091a\u093e\u0930 \u092a\u093e\u0901\u091a",
    "TAMIL": "\u0b92\u0ba9\u0bcd\u0bb1\u0bc1 \u0b87\u0bb0\u0ba3\u0bcd\u0b9f\u0bc1 \u0bae\u0bc2\u0ba9\u0bcd\u0bb1\u0bc1 "
    "\u0ba8\u0bbe\u0ba9\u0bcd\u0b95\u0bc1 \u0b90\u0ba8\u0bcd\u0ba4\u0bc1",
    "HANGUL": "\ud558\ub098 \ub458 \uc14b \ub137 \ub2e4\uc12f",
}


def characters(script: str) -> tuple[list[str], list[str]]:
    """Small letters of a script, and the marks that may follow each."""
    letters, marks = [], []
    for character in map(chr, range(0x41, 0x20000)):
        name, kind = unicodedata.name(character, ""), unicodedata.category(character)
        if not name.startswith(f"{script} ") or len(unicodedata.normalize("NFKC", character)) > 1:
            continue
        if (
            kind in ("Ll", "Lo")
            and character.islower() == (kind == "Ll")
            and unicodedata.normalize("NFKD", character.casefold()) == character
        ):
            letters.append(character)
        elif kind in ("Mn", "Mc") and not re.search("MUSICAL|INHERENT|FREE|STRESS|ACCENT", name):
            marks += [character] if len(unicodedata.normalize("NFD", character)) == 1 else []
    return letters, marks


def vocabulary(script: str, draw: random.Random, size: int = 60) -> list[str]:
    """Different words of a script; in scripts without spaces, different letters with their marks."""
    letters, marks = characters(script)
    found: dict[str, None] = dict.fromkeys(NUMBERS.get(script, "").split())
    while len(found) < size:
        word = "".join(
            draw.choice(letters) + (draw.choice(marks) if marks and draw.random() < 0.6 else "")
            for _ in range(1 if script in UNSPACED else draw.randint(1, 3))
        )
        if script in OPTIONAL:
            word = "".join(character for character in word if character not in marks)
        found[word] = None
    return list(found)


def texts(words: Sequence[str], draw: random.Random) -> list[list[str]]:
    """Random texts, copies of them with a word or many changed, and some with punctuation."""
    first = [[draw.choice(words) for _ in range(draw.randint(8, 60))] for _ in range(12)]
    changed = [
        [draw.choice(words) if draw.random() < share else word for word in text]
        for text in first
        for share in (0.0, 0.03, 0.3)
    ]
    return first + changed


def pattern(hashes: Iterable[Hashable]) -> list[int]:
    """Which values are equal: each as the place where it was first seen."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(value, len(seen)) for value in hashes]


def similarities(batch: TextBatch) -> list[float]:
    """The Jaccard similarity of every pair of texts, by which near duplicates are decided."""
    found = signatures.shingle_sets(batch, np.arange(len(batch)), 5)
    sets = [
        set(found.shingles[start : start + size].tolist())
        for start, size in zip(found.starts[:-1].tolist(), found.sizes.tolist(), strict=True)
    ]
    return [len(one & two) / len(one | two) for one in sets for two in sets]


def listed(batch: TextBatch, entries: Sequence[str]) -> list[list[float]]:
    return [list(values) for values in word_list.measure(batch, word_list.compile_list(entries)).values()]


def contaminated(batch: TextBatch, questions: Sequence[str]) -> set[tuple[int, int]]:
    """Which texts have which examples."""
    examples = index.Examples.of([([question], 0) for question in questions])
    built = index.build(index.prepare(examples), batch, 40).index
    found = chains.match(built, batch, chains.Rule(min_coverage=0.6, min_score=8.0))
    return set(zip(found.rows.tolist(), found.examples.tolist(), strict=True))


def lines(batch: TextBatch) -> list[int]:
    found = units.units(batch.data, batch.offsets[:-1], batch.offsets[1:], "lines")
    return pattern(found.hashes.tolist()) + found.words.tolist()


def words(batch: TextBatch) -> list[int]:
    found = contamination_words.hashes(batch)
    return pattern(found.hashes.tolist()) + found.offsets.tolist()


@pytest.mark.parametrize("script", [*SPACED, *UNSPACED])
def test_a_text_mapped_word_by_word_to_ascii_has_the_same_decisions(script: str) -> None:
    """Exact and near duplicates, lines, word lists and contamination are decided as for ASCII."""
    draw = random.Random(script)
    own = vocabulary(script, draw)
    ascii_words = {word: f"w{chr(97 + at // 26)}{chr(97 + at % 26)}" for at, word in enumerate(own)}
    rows = texts(own, draw)
    gap = "" if script in UNSPACED else " "
    here = from_texts([gap.join(row) for row in rows])
    there = from_texts([" ".join(ascii_words[word] for word in row) for row in rows])
    assert pattern(map(tuple, forms.digests(here).tolist())) == pattern(
        map(tuple, forms.digests(there).tolist())
    )
    assert similarities(here) == similarities(there)
    assert lines(here) == lines(there)
    assert words(here) == words(there)
    entries = [*own[:5], gap.join(own[5:7]), gap.join(own[7:10])]
    mapped = [*own[:5], own[5:7], own[7:10]]
    assert listed(here, entries) == listed(
        there,
        [
            " ".join(ascii_words[word] for word in ([entry] if isinstance(entry, str) else entry))
            for entry in mapped
        ],
    )
    if script not in UNSPACED:  # a character weighs half a word there
        questions = [row[:12] for row in rows[:6]]
        found = contaminated(here, [" ".join(row) for row in questions])
        assert found == contaminated(
            there, [" ".join(ascii_words[word] for word in row) for row in questions]
        )
        assert {(number, number) for number in range(6)} <= found
