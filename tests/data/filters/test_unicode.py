"""Unicode repairs: against ``unicodedata`` and a plain reading of the rules, and that nothing sound is touched."""

# ruff: noqa: RUF001 - mojibake is what is tested

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.filters import unicode
from millrace.data.text.batch import Edited, TextBatch, from_texts

PIECES = [
    "a", "B ", "é", "e\u0301", "\u0301", "ﬁ", "漢", "한", "\u1112\u1161", "\r", "\n", "\r\n", "\x85", "\u2028", "\0", "\x1b",
    "\x1b[31m", "[", "m", "\u200b", "\u200c", "\u200d", "\ufeff", "\xad", "\u202e", "\u2060", "ก", "می", "👩", "Ã©", "â€™",
    "Â", "ã\x80\x81", "\x92", "Ð¿Ñ€Ð¸", "Рї", "\t", "\x7f", "\x0c", "\U000e0067", "é»", "…",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=8).map("".join)


def texts_of(batch: TextBatch) -> list[str]:
    return [batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes().decode() for i in range(len(batch))]


def edited(text: str, **settings: object) -> str:
    return texts_of(unicode.edit(from_texts([text]), **settings).batch)[0]  # type: ignore[arg-type]


@given(st.lists(TEXTS, max_size=4), st.sampled_from(["NFC", "NFKC"]))
def test_editing_twice_changes_nothing_more_and_rows_stay_apart(
    texts: list[str], form: unicode.NormalForm
) -> None:
    once = unicode.edit(from_texts(texts), normal_form=form)
    found = texts_of(once.batch)
    assert found == [edited(text, normal_form=form) for text in texts]
    twice = unicode.edit(once.batch, normal_form=form)
    assert texts_of(twice.batch) == found
    assert not any(column.any() for column in twice.counts.values())
    changed = [any(row) for row in zip(*once.counts.values(), strict=True)]
    for before, after, is_changed in zip(texts, found, changed, strict=True):
        assert is_changed or before == after
        assert unicodedata.is_normalized(form, after)
        assert not re.search(
            "[\0-\x08\x0b-\x1f\x7f-\x9f\ufeff\xad\u2028-\u202e\u2060-\u2064\u2066-\u2069]", after
        )


@given(st.text())
def test_a_normal_form_alone_is_unicodedatas(text: str) -> None:
    for form in ("NFC", "NFKC"):
        settings = {"mojibake": False, "line_ends": False, "controls": False, "invisible": False}
        assert edited(text, normal_form=form, **settings) == unicodedata.normalize(form, text)


@given(TEXTS)
def test_with_everything_off_nothing_is_touched(text: str) -> None:
    off = dict.fromkeys(["mojibake", "line_ends", "controls", "invisible"], False)
    assert edited(text, normal_form=None, **off) == text


@given(TEXTS)
def test_line_ends_alone_are_pythons(text: str) -> None:
    off = {"mojibake": False, "normal_form": None, "controls": False, "invisible": False}
    assert edited(text, **off) == re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("un cafÃ© bientÃ´t", "un café bientôt"),
        ("It\u00e2\u20ac\u2122s fine, weâ\x80\x99re here", "It’s fine, we’re here"),
        ("line one fine: é\nline two: cafÃ©", "line one fine: é\nline two: café"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚, Ð¼Ð¸Ñ€", "привет, мир"),
        ("РїСЂРёРІРµС‚, РјРёСЂ", "привет, мир"),
        ("it\x92s here", "it's here"),
        ("a\u200bb\ufeff\u2060\xadc", "abc"),
        ("x\u200dy", "xy"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("page\x0cnext\0", "page\nnext"),
    ],
)
def test_what_is_broken_is_mended(text: str, expected: str) -> None:
    assert edited(text).replace("’", "'") == expected.replace("’", "'")


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII\twith tabs\n",
        "« voilà », l’été… à « Noël » : GRUSS, Größe“ Ünal’s NAÇÃO É",
        "می\u200cخواهم",
        "क\u094d\u200dष",
        "👩\u200d👩\u200d👧 🏴\U000e0067\U000e007f",
        "ไทย\u200bไทย",
        "Рік, Сіль; Рёв; Сє",
        "½ ﬁ ² Å",
        "日本語。한국어",
    ],
)
def test_what_is_sound_is_left(text: str) -> None:
    assert edited(text) == unicodedata.normalize("NFC", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "«MAÇÃ»", "“MAÇÃ” e «IRMÃ»", "O SABOR DA «MAÇÃ» É BOM", "IRMÃ™", "ALEMÃ®", "MANHÃ—TARDE", "AMANHÃ… E DEPOIS", "IRMÃ – LÃ",
        "MAÇÃ\u00a0»", "«NOËL» — «DÉJÀ VU»", "«VOILÀ» «CAFÉ»", "L’ÉTÉ “PASSÉ” – TRÈS", "„STRASSE“ „GRÖSSE“ »SÜSS«", "„PŘÍTELKYNĚ“ »ŽÁRÓ«",
        "“İSTANBUL” “ÇAĞRI”", "“VIỆT NAM” “HÀ” “ĐÃ”", "«ESPAÑA» ¿QUÉ? «SÍ»", "„ŁÓDŹ” »ŻÓŁĆ«", "„ROMÂNĂ” «CASĂ»", "«CITTÀ» CAFFÈ™", "»SMÅ« ”SMÅ”",
        "„ÁRVÍZTŰRŐ” „TÜKÖRFÚRÓGÉP”", "ÞÓRÐUR „ÞAÐ“", "„Ä“ „Â“ «Ã» ‘Å’", "MAÇÃ»\nIRMÃ”", "«EHIÂ» «TÂ»",
    ],
)  # fmt: skip
def test_sound_capitals_before_quotes_and_dashes_are_left(text: str) -> None:
    """An accented capital and the mark behind it stay two characters, in every language."""
    assert edited(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "CAFÉ", "LEÓN", "ESPAÑA, AÑO", "KÖLN", "GRÖSSE UND MÖBEL", "CITTÀ E PIÙ", "OÙ EST LA FÊTE", "AOÛT", "NÃO", "AMANHÃ", "«MAÇÃ»", "“MAÇÔ",
        "ÉCOLE", "ПРИВЕТ", "ÇAĞRI", "VIỆT NAM", "ŁÓDŹ", "TŘÍDA", "© ACME® 30° «x» – y", "日本語", "voilà le", "Là-bas, dû", "São Paulo – “olá”",
        "AVÓ\nNAÇÃO «MAÇÃ»",
    ],
)  # fmt: skip
def test_capitals_that_are_mojibake_throughout_are_mended(text: str) -> None:
    """UTF-8 read as Windows-1252 comes back, with the pairs that alone would be doubtful."""
    import ftfy.bad_codecs  # noqa: F401 - registers the encoding

    broken = text.encode().decode("sloppy-windows-1252")
    assert broken != text
    assert edited(broken).replace("’", "'") == text.replace("’", "'")


def test_counts_say_what_was_done() -> None:
    found: Edited = unicode.edit(from_texts(["a\r\nb\r", "\ufeffcafÃ©\0", "fine"]))
    assert {name: column.tolist() for name, column in found.counts.items()} == {
        "mojibake": [0, 1, 0],
        "normal_form": [0, 0, 0],
        "line_ends": [2, 0, 0],
        "controls": [0, 1, 0],
        "invisible": [0, 1, 0],
    }


def test_a_batch_that_needs_nothing_is_the_same_memory() -> None:
    batch = from_texts(["all", "fine", "né"])
    assert unicode.edit(batch).batch.data is batch.data
    assert len(unicode.edit(from_texts([])).batch) == 0


def test_a_letter_with_endless_accents_does_not_stop_the_others() -> None:
    endless = "e" + "\u0301\u0316" * 100_000  # would take unicodedata minutes
    assert edited(endless + "\r\n") == endless + "\n"
    few = "e" + "\u0301\u0316" * 100
    assert edited(few) == unicodedata.normalize("NFC", few)


def test_a_slice_of_a_batch_is_edited_alone() -> None:
    whole = from_texts(["skip\r", "a\r\n", "b", "c\0"])
    part = TextBatch(whole.data, whole.offsets[1:4].copy())
    assert texts_of(unicode.edit(part).batch) == ["a\n", "b"]
