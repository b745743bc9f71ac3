"""Lines, paragraphs and sentences against a reference in plain Python, and what their normal form ignores."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.dedup import units
from millrace.data.text.batch import from_texts
from millrace.data.text.folding import is_ignored, is_mark, is_unspaced

SPACE = " \t\n\x0b\x0c\r"
TEXTS = st.text(
    st.sampled_from(
        'aAbé1٣.!?…。,"”) \n\n\u00a0\u0301中ｶ🙂İ-\u0e19\u0e49か\u3099が\u0915\u094d\u093f각\u11a8≠'
    ),
    max_size=40,
)


def folded(character: str) -> str:
    """One character of the normal form: empty for what does not count."""
    if character.isspace():
        return " "
    if character.isdecimal():
        return "0"
    if unicodedata.category(character)[0] in "PC" or is_ignored(character):
        return ""
    lower = character.lower()
    if len(lower) > 1:
        return character
    base = unicodedata.normalize("NFKD", lower)[0]
    rest = unicodedata.normalize("NFKD", lower)[1:]
    if base.isalnum() and all(map(is_ignored, rest)):
        return base
    canonical = [part for part in unicodedata.normalize("NFD", lower) if not is_ignored(part)]
    return "".join(canonical) if canonical[0].isalnum() or is_mark(canonical[0]) else lower


def normal(text: str) -> str:
    """The words of a text in normal form, each ideograph with its marks one by itself."""
    spread = ""
    for character in text:
        kept = folded(character)
        for part in kept:
            if not is_unspaced(character) or not part.strip():
                spread += part
            elif is_mark(part):
                spread = spread[:-1] + part + " " if re.search("\0[^ ]+ $", spread) else spread + part
            else:
                spread += f" \0{part} "
    return " ".join(spread.split())


def pieces(text: str, kind: str) -> list[str]:
    """The units of a text, cut where a person would read on after a line, a blank line or a sentence."""
    if kind == "lines":
        return text.split("\n")
    if kind == "paragraphs":
        found, held = [], []
        for line in text.split("\n"):
            if line.strip(SPACE):
                held.append(line)
            else:
                found.append("\n".join(held))
                held = []
        return [*found, "\n".join(held)]
    found = []
    for line in text.split("\n"):
        piece, ended, always = "", False, False
        for character in line:
            goes_on = character in ".!?…。！？｡\"')]}’”»」』）"  # noqa: RUF001
            if (ended and character.isspace()) or (always and not goes_on):
                found.append(piece)
                piece, ended, always = "", False, False
            if character in "。！？｡":  # noqa: RUF001
                always = True
            elif character in ".!?…":
                ended = True
            elif not character.isspace() and character not in "\"')]}’”»」』）":  # noqa: RUF001
                ended = False
            piece += character
        found.append(piece)
    return found


def cut(text: str, kind: units.Kind) -> units.Units:
    batch = from_texts([text])
    return units.units(batch.data, batch.offsets[:-1], batch.offsets[1:], kind)


@pytest.mark.parametrize("kind", ["lines", "paragraphs", "sentences"])
@given(text=TEXTS)
def test_units_equal_the_reference(kind: units.Kind, text: str) -> None:
    """Same pieces in the same order, with the same words and characters; equal hashes for equal normal forms only."""
    expected = [piece.strip(SPACE) for piece in pieces(text, kind) if normal(piece)]
    found = cut(text, kind)
    data = text.encode()
    assert [data[a:b].decode() for a, b in zip(found.starts, found.ends, strict=True)] == expected
    forms = [normal(piece) for piece in expected]
    assert found.words.tolist() == [len(form.split()) for form in forms]
    assert found.characters.tolist() == [
        sum(bool(folded(character).strip()) for character in piece) for piece in expected
    ]
    hashes = found.hashes.tolist()
    for form, value in zip(forms, hashes, strict=True):
        assert [other == form for other in forms] == [other == value for other in hashes]
    assert found.offsets.tolist() == [0, len(expected)]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Copyright 2019, ACME.", "  copyright   2024 acme"),
        ("Café au lait", "CAFE\u0301 AU LAIT"),
        ("١٢ items", "34 items"),
        ("中文 字", "中文字"),
        ("“Yes,” he said.", '"Yes", he said'),
        ("\uac01 \u09cb \u304c", "\u1100\u1161\u11a8 \u09c7\u09be \u304b\u3099"),
    ],
)
def test_what_does_not_count_does_not_count(one: str, two: str) -> None:
    """Case, digits, accents, punctuation and white space do not tell lines apart."""
    assert cut(one, "lines").hashes.tolist() == cut(two, "lines").hashes.tolist()


def test_letters_and_word_borders_count() -> None:
    """Another letter, another order or a missing space is another line."""
    lines = [
        "the cat sat",
        "the cat set",
        "cat the sat",
        "thecat sat",
        "\u0915\u093e\u0932",
        "\u0915\u094b\u0932",
    ]
    assert len(set(cut("\n".join(lines), "lines").hashes.tolist())) == 6


def test_windows_are_runs_within_one_text_that_are_long_enough() -> None:
    """No window crosses texts, and short ones are left out."""
    batch = from_texts(["one two. three. four five.", "three. four five."])
    found = units.units(batch.data, batch.offsets[:-1], batch.offsets[1:], "sentences")
    windows = units.windows(found, 2, 3, 1)
    assert windows.places.tolist() == [0, 1, 3]
    assert windows.hashes[1] == windows.hashes[2] != windows.hashes[0]
    assert units.windows(found, 2, 3, 12).places.tolist() == [1, 3]
    assert units.windows(found, 2, 4, 1).places.size == 0
