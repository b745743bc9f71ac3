"""Words and triples against a reference over strings."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination import triples, words
from millrace.data.text.batch import TextBatch, from_texts
from millrace.data.text.folding import UNSPACED, fold_table

TEXTS = st.lists(
    st.text(
        st.sampled_from("abAé '\u2019_-.7\u200b\u0301中かß\U0001f600ﬁ\n") | st.characters(codec="utf-8"),
        max_size=30,
    )
    | st.text("abA é'Ж", min_size=60, max_size=200),  # words across the 64 bytes that are looked at together
    max_size=4,
)


def folded(character: str) -> str | None:
    """What a character is compared as: a letter, a separator (empty), or nothing at all (None)."""
    if character in "'\u00b4\u02bc\u2018\u2019\u201b\uff07":
        return None
    if character == "_" or ord(character) >= 0x30000:
        return ""
    if character.isalnum():
        bases = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        kept = [base for base in bases if not unicodedata.combining(base)]
        return kept[0] if len(kept) == 1 else character
    return (
        None
        if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me")
        else ""
    )


def words_of(text: str) -> list[tuple[str, int, int]]:
    """Every word of a text, with its first byte and its end."""
    found: list[tuple[str, int, int]] = []
    word, begin, at = "", 0, 0
    for character in text:
        end = at + len(character.encode())
        meaning = folded(character)
        alone = bool(meaning) and any(first <= ord(character) <= last for first, last in UNSPACED)
        if word and (meaning == "" or alone):
            found.append((word, begin, at))
            word = ""
        if alone:
            found.append((f"{meaning} alone", at, end))
        elif meaning:
            begin = begin if word else at
            word += meaning
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
    table = fold_table()
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
    ],
)
def test_how_a_text_is_written_does_not_matter(text: str, same: str) -> None:
    """Case, accents, compatibility forms, apostrophes, underscores and what does not show make no difference."""
    a, b = words.words(from_texts([text])), words.words(from_texts([same]))
    assert a.hashes.tolist() == b.hashes.tolist()


def test_the_shared_table_ignores_what_does_not_show() -> None:
    """Joiners, soft hyphens and accents are ignored, spaces separate, Han characters stand alone."""
    table = fold_table()
    assert {int(table[ord(character)]) for character in "\u200b\u200d\u00ad\ufeff\u0301"} == {-1}
    assert table[ord(" ")] == table[0x2003] == 0
    assert table[ord("中")] == ord("中") + (1 << 24)


WORDS = st.lists(st.sampled_from("abcd"), max_size=9)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(WORDS, max_size=4))
def test_found_are_all_triples_that_texts_share_with_examples(
    examples: list[list[str]], texts: list[list[str]]
) -> None:
    """Hits, their places and document frequencies are those of comparing tuples of words."""
    fields = from_texts([" ".join(example) for example in examples])
    first = np.arange(len(examples) + 1)
    found = words.words(fields)
    posted = triples.postings(found, first, np.full(len(examples), -1))
    expected = set()
    for number, example in enumerate(examples):
        for i, a, b in np.ndindex(len(example), 2, 2):
            at = (i, i + a + 1, i + a + b + 2)
            if at[2] < len(example):
                expected.add((number, at, tuple(example[place] for place in at)))
    assert (np.diff(posted.hashes.astype(object)) >= 0).all()
    assert {
        (int(number), tuple(slots))
        for number, slots in zip(posted.examples, posted.slots.tolist(), strict=True)
    } == {(number, at) for number, at, _ in expected}
    batch = from_texts([" ".join(text) for text in texts])
    unique = np.unique(posted.hashes)
    hits = triples.find(words.hashes(batch), triples.lookup(unique))
    known = {own for _, _, own in expected}
    shared = [
        (row, place)
        for row, text in enumerate(texts)
        for place in range(len(text) - 2)
        if tuple(text[place : place + 3]) in known
    ]
    assert list(zip(hits.rows.tolist(), hits.places.tolist(), strict=True)) == shared
    kinds = {
        int(number): tuple(texts[row][at : at + 3])
        for number, (row, at) in zip(hits.found, shared, strict=True)
    }
    assert (
        len(set(kinds.values())) == len(kinds) == len({tuple(texts[row][at : at + 3]) for row, at in shared})
    )
    singles = np.unique(found.hashes)
    counts, triple_counts = triples.document_frequency(
        words.hashes(batch), triples.lookup(singles), triples.lookup(unique)
    )
    own = {word for example in examples for word in example}
    assert sorted(counts.tolist()) == sorted(sum(word in text for text in texts) for word in own)
    assert triple_counts.sum() == len({(row, tuple(texts[row][at : at + 3])) for row, at in shared})


def test_long_texts_are_looked_up_like_short_ones() -> None:
    """Hits across the words that are looked up together are found, those across two texts are not."""
    draw = random.Random(0)
    texts = [draw.choices(["a", "b", "c", "d", "e", "f"], k=size) for size in (1, 700, 2, 0, 1500, 3)]
    known = {("a", "b", "c"), ("f", "f", "a"), ("d", "a", "d")}
    found = words.words(from_texts([" ".join(triple) for triple in sorted(known)]))
    posted = triples.postings(found, np.arange(len(known) + 1), np.full(len(known), -1))
    hits = triples.find(
        words.hashes(from_texts([" ".join(text) for text in texts])), triples.lookup(posted.hashes)
    )
    assert list(zip(hits.rows.tolist(), hits.places.tolist(), strict=True)) == [
        (row, at)
        for row, text in enumerate(texts)
        for at in range(len(text))
        if tuple(text[at : at + 3]) in known
    ]


def test_layouts_with_letters_and_with_the_right_answer_alone_are_triples_too() -> None:
    """A question runs on to its right answer, and to each choice behind its letter."""
    fields = ["which animal barks", "cat", "dog of course", "cow"]
    found = words.words(from_texts(fields))
    posted = triples.postings(found, np.array([0, 4]), np.array([2]))
    lookup = triples.lookup(np.unique(posted.hashes))
    for text, hits in (
        ("which animal barks dog of course", 4),
        ("which animal barks a cat b dog of course c cow", 9),
        ("A. cat B. dog", 2),
    ):
        assert len(triples.find(words.hashes(from_texts([text])), lookup).rows) == hits, text
