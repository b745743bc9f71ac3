"""Languages against py3langid's own code, and what a text without a language gets."""

# ruff: noqa: RUF001 - other scripts have letters that look like Latin ones

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from millrace.data.filters import language
from millrace.data.text.batch import from_texts

SENTENCES = {
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια",
    "en": "All human beings are born free and equal in dignity and rights",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos",
    "fi": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心",
}


@pytest.fixture(scope="module")
def library() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def test_a_sentence_gets_its_language() -> None:
    found = language.identify(from_texts(list(SENTENCES.values())))
    assert found.codes.tolist() == list(SENTENCES)
    assert (found.confidences > 0.5).all()


@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from(list(SENTENCES.values()))), max_size=5))
def test_codes_and_confidences_are_those_of_the_library(
    library: LanguageIdentifier, texts: list[str]
) -> None:
    found = language.identify(from_texts(texts))
    for text, code, confidence in zip(texts, found.codes, found.confidences, strict=True):
        expected, probability = library.classify(text)
        if code == language.UNDETERMINED:
            assert probability == pytest.approx(2 / 142)  # no feature: all classes alike, one has two scripts
        else:
            assert confidence == pytest.approx(probability, abs=2e-3)
            assert code == expected or probability == pytest.approx(dict(library.rank(text))[code], abs=2e-3)


@pytest.mark.parametrize("code", ["de", "vi", "ru", "el"])
def test_capitals_and_decomposed_accents_change_nothing(code: str) -> None:
    text = SENTENCES[code]
    forms = [text.lower(), text.upper(), unicodedata.normalize("NFD", text.lower())]
    found = language.identify(from_texts(forms))
    assert found.codes.tolist() == [code] * 3
    assert len(set(found.confidences.tolist())) == 1


def test_only_whole_characters_of_the_beginning_count() -> None:
    text = SENTENCES["ru"] + " " + SENTENCES["en"] * 9
    assert language.identify(from_texts([text, SENTENCES["ru"][:50]]), 100).codes.tolist() == ["ru", "ru"]
    for size in range(1, 12):
        language.identify(from_texts([SENTENCES["ja"]]), size)
    with pytest.raises(ValueError, match="expected 32768 at most"):
        language.identify(from_texts([text]), 40_000)


def test_a_text_without_letters_is_undetermined() -> None:
    found = language.identify(from_texts(["", "12"]))
    assert found.codes.tolist() == ["und", "und"]
    assert found.confidences.tolist() == [0, 0]


def test_codes_are_those_that_a_text_can_get() -> None:
    codes = language.languages()
    assert set(SENTENCES) | {"und", "zxx"} <= set(codes)
    assert len(codes) == len(set(codes)) == 141
