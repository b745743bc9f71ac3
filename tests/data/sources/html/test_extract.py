"""Pages of HTML: main text, encodings, what they say of themselves, and pages made to stop a parser."""

from __future__ import annotations

import contextlib
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.sources.html.page import PAGE

from millrace.data.sources.bytes.encodings import UnknownEncodingError
from millrace.data.sources.html.extract import decode_html, extract

GERMAN = "Für die Bürger der Städte wäre es schön, wenn Straßen größer würden. " * 20


@pytest.mark.parametrize(
    ("declaration", "charset", "encoding"),
    [
        ("<meta charset=windows-1252>", None, "cp1252"),
        ('<META http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">', None, "cp1252"),
        ('<?xml version="1.0" encoding="iso-8859-15"?>', None, "iso8859-15"),
        ("", "ISO-8859-1", "cp1252"),
        ("<meta charset=utf-8>", "windows-1252", "cp1252"),
        ("<meta charset=koi8-r>", None, "utf-8"),
        ("<meta charset=utf-16>", None, "utf-8"),
        ("<meta charset=unicode_escape>", None, "utf-8"),
        ("<meta charset=utf-8>", None, "utf-16"),
        ("<meta charset=utf-8>", None, "utf-8-sig"),
    ],
)
def test_marks_go_before_valid_utf8_before_the_server_before_the_page_before_detection(
    declaration: str, charset: str | None, encoding: str
) -> None:
    page = f"{declaration}<p>{GERMAN}</p>"
    text, found = decode_html(page.encode(encoding), charset)
    assert text.removeprefix("\ufeff") == page
    assert found == (None if encoding.startswith("utf-8") else encoding)


@pytest.mark.parametrize("declaration", ["", "<meta charset=unicode_escape>", "<meta charset=utf-8>"])
def test_an_encoding_that_nobody_declares_is_found(declaration: str) -> None:
    page = f"{declaration}<p>{GERMAN}</p>"
    text, found = decode_html(page.encode("cp1252"))
    assert text == page
    assert found in ("cp1250", "cp1252")  # which have the same German letters


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("日本語の文章です。" * 9, "shift_jis"),
        ("中文网页" * 9, "gb2312"),
        ("日本語", "iso2022_jp"),
        ("联通", "gbk"),
    ],
)
def test_east_asian_pages_are_read_as_they_say(text: str, encoding: str) -> None:
    page = f"<meta charset={encoding.replace('iso2022_jp', 'iso-2022-jp')}><p>{text}"
    assert text in decode_html(page.encode(encoding)).text


def test_a_wrong_byte_costs_a_character_and_binary_data_is_refused() -> None:
    assert decode_html("<p>Größe".encode() * 9 + b"\xff").text.endswith("Größe\ufffd")
    with pytest.raises(UnknownEncodingError, match="got binary data"):
        decode_html(b"<meta charset=utf-8>" + gzip.compress(PAGE.encode()) * 9)


@given(st.binary(max_size=300) | st.text(max_size=80).map(lambda text: f"<p>{text}</p>".encode()))
def test_any_bytes_give_a_text_or_say_why_not(content: bytes) -> None:
    with contextlib.suppress(UnknownEncodingError):
        text = extract(content).text
        assert "\0" not in text
        assert text.encode().decode() == text
