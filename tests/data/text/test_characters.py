"""Characters are what Python's strings say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.data.text import characters


@settings(deadline=None)
@given(st.characters(exclude_categories=["Cs"]))
def test_characters_are_what_strings_say(character: str) -> None:
    tables = characters.character_tables()
    point = ord(character)
    if point >= characters.CODE_POINTS:
        assert not character.isspace()
        return
    kind = tables.of_byte[point] if point < 0x80 else tables.of_code_point[point]
    assert bool(kind & characters.ALPHABETIC) == character.isalpha()
    assert bool(kind & characters.SPACE) == character.isspace()
    assert bool(kind & characters.LINE_BREAK) == (len(f"a{character}b".splitlines()) == 2)


def test_no_letter_lies_above_the_table() -> None:
    assert not any(chr(point).isalpha() for point in range(characters.CODE_POINTS, 0x110000))
