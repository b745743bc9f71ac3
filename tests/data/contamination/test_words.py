"""Words against a reference over strings."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination import words
from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.folding import POINTS, fold_tables, is_ignored, is_mark, is_unspaced

TEXTS = st.lists(
    st.text(
        st.sampled_from(
            "abAé '\u2019_-.7\u200b\u0301中かがß\U0001f600ﬁ\n\u3099\u0e19\u0e49\u0915\u094d\u093f\u09cb각\u11a8\uff9e"
        )
        | st.characters(codec="utf-8"),
        max_size=30,
    )
    | st.text("abA é'Ж", min_size=60, max_size=200),  # words across the 64 bytes that are looked at together
    max_size=4,
)


def folded(character: str) -> str | None:
    """The compared form of a character: letters and marks, a separator (empty), or nothing at all (None)."""
    if character in "'\u00b4\u02bc\u2018\u2019\u201b\uff07":
        return None
    if is_ignored(character):
        return None
    if character == "_" or ord(character) >= POINTS or not (character.isalnum() or is_mark(character)):
        return ""
    bases = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    kept = [base for base in bases if not is_ignored(base)]
    canonical = unicodedata.normalize("NFD", character.lower())
    if len(kept) > 1 and len(canonical) > 1:
        return "".join(part for part in canonical if not is_ignored(part))
    return kept[0] if len(kept) == 1 else character


def words_of(text: str) -> list[tuple[str, int, int]]:
    """Every word of a text, with its first byte and its end."""
    found: list[tuple[str, int, int]] = []
    word, begin, at = "", 0, 0
    is_open = False  # whether the last word found is a character that marks may follow
    for character in text:
        end = at + len(character.encode())
        meaning = folded(character)
        for part in [meaning] if meaning in ("", None) else list(str(meaning)):
            if part and is_unspaced(character) and is_mark(part) and is_open:
                found[-1] = (found[-1][0] + part, found[-1][1], end)
            elif part == "" or (part and is_unspaced(character) and not is_mark(part)):
                found += [(word, begin, at)] if word else []
                found += [(f"alone {part}", at, end)] if part else []
                word, is_open = "", bool(part)
            elif part:
                begin = begin if word else at
                word += part
                is_open = False
        at = end
    return [*found, (word, begin, at)] if word else found


@given(TEXTS)
def test_words_are_those_of_the_reference(texts: list[str]) -> None:
    """Places agree, and hashes are equal exactly where words are."""
    found = words.words(from_texts(texts))
    expected = [words_of(text) for text in texts]
    assert np.diff(found.offsets).tolist() == [len(own) for own in expected]
    flat = [word for own in expected for word in own]
    assert found.starts.tolist() == [start for _, start, _ in flat]
    assert found.ends.tolist() == [end for _, _, end in flat]
    names = {word: hashed for (word, _, _), hashed in zip(flat, found.hashes.tolist(), strict=True)}
    assert [names[word] for word, _, _ in flat] == found.hashes.tolist()
    assert len(set(names.values())) == len(names)


def test_every_letter_is_another_word() -> None:
    """Of all characters that fold to different ones no two have the same hash, alone or behind other letters."""
    table = fold_tables().table
    letters = [
        chr(point) for point in range(0x80, len(table)) if table[point] == point and folded(chr(point))
    ]
    for before in ("", "word", "a word of more than sixteen letters".replace(" ", "")):
        found = words.words(from_texts([before + letter for letter in letters]))
        assert found.hashes.size == len(set(found.hashes.tolist())) == len(letters)


@given(st.text("abcXYZ019", min_size=1, max_size=70), st.text(" .\n", max_size=70))
def test_case_and_place_do_not_matter(word: str, before: str) -> None:
    """A word of any length has one hash, in capitals, behind anything, folded character by character, and no other."""
    texts = [word, word.upper(), before + word, before + word + " x", f"{word[:1]}\u200b{word[1:]}"]
    found = words.hashes(from_texts(texts))
    assert len(set(found.hashes[found.offsets[:-1]].tolist())) == 1
    longer = words.hashes(from_texts([word + "a", word[:-1] + "q"]))
    assert found.hashes[0] not in longer.hashes.tolist()


@given(TEXTS)
def test_hashes_alone_are_the_same(texts: list[str]) -> None:
    """Without places, and of a part of a batch, the words are those with places."""
    batch = from_texts(texts)
    found, alone = words.words(batch), words.hashes(batch)
    assert alone.hashes.tolist() == found.hashes.tolist()
    assert alone.offsets.tolist() == found.offsets.tolist()
    if len(texts) > 1:
        rest = words.hashes(TextBatch(batch.data, batch.offsets[1:]))
        assert rest.hashes.tolist() == found.hashes[found.offsets[1] :].tolist()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Don\u2019t STOP, naïve café", "dont stop naive cafe"),
        ("hid\u200bden so\u00adft", "hidden soft"),
        ("has_close_elements", "has close elements"),
        ("ｆｕｌｌ ① x²", "full 1 x2"),  # noqa: RUF001
        ("\uac01 \u09cb \u0958 \u304c", "\u1100\u1161\u11a8 \u09c7\u09be \u0915\u093c \u304b\u3099"),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u0937"),
    ],
)
def test_how_a_text_is_written_does_not_matter(text: str, same: str) -> None:
    """Case, accents, compatibility forms, apostrophes, underscores and what does not show make no difference."""
    a, b = words.words(from_texts([text])), words.words(from_texts([same]))
    assert a.hashes.tolist() == b.hashes.tolist()


def test_the_shared_table_ignores_what_does_not_show() -> None:
    """Joiners, soft hyphens and accents are ignored, spaces separate, Han characters stand alone."""
    table = fold_tables().table
    assert {int(table[ord(character)]) for character in "\u200b\u200d\u00ad\ufeff\u0301"} == {-1}
    assert table[ord(" ")] == table[0x2003] == 0
    assert table[ord("中")] == ord("中") + (1 << 24)
