"""Pages of HTML: main text, encodings, what they say of themselves, and pages made to stop a parser."""

from __future__ import annotations

import contextlib
import gzip
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.corrupting import no_hang

from millrace.data.sources import files
from millrace.data.sources.bytes.encodings import UnknownEncodingError
from millrace.data.sources.html import worker as html_worker
from millrace.data.sources.html.cost import MAX_ATTRIBUTES, MAX_DEPTH, MAX_STEPS, cost
from millrace.data.sources.html.extract import decode_html, extract
from millrace.data.sources.html.worker import PageError, page_of
from millrace.data.sources.records import Malformed, Options, Record

PARAGRAPH = "The river rose in the night, and by morning the lower fields stood under water. " * 4
PAGE = f"""<!doctype html><html lang="en-GB"><head><meta charset="utf-8"><title> Floods
of the valley </title><link rel="canonical" href="https://example.org/floods"><style>p {{ color: red }}</style></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/news">All news</a></li></ul></nav>
<main><article><h1>Floods of the valley</h1><p>{PARAGRAPH}</p><script>track("visit")</script><pre>a  b
 c</pre></article></main><footer>Imprint and privacy</footer></body></html>"""
GERMAN = "Für die Bürger der Städte wäre es schön, wenn Straßen größer würden. " * 20


def read(path: Path, **options: object) -> list[Record | Malformed]:
    parts = files.plan([str(path)], Options(**options))  # type: ignore[arg-type]
    found = [item for part in parts for item in files.read(part)]
    return [item for item in found if isinstance(item, Record | Malformed)]


def test_a_page_gives_its_main_text_its_title_language_and_address(tmp_path: Path) -> None:
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(PAGE.encode()))
    (record,) = read(tmp_path / "*", default_license="CC0-1.0")
    assert isinstance(record, Record)
    assert record.text.split("\n\n")[:2] == ["Floods of the valley", PARAGRAPH.strip()]
    assert "a  b\n c" in record.text
    assert not any(word in record.text for word in ("Home", "track", "Imprint", "color"))
    assert record.metadata == {
        "title": "Floods of the valley",
        "language": "en-GB",
        "url": "https://example.org/floods",
        "license": "CC0-1.0",
    }
    assert (record.locator, record.key, record.lang) == ("", "", "en")


def test_all_that_is_visible_can_be_asked_for_and_the_pages_own_language(tmp_path: Path) -> None:
    (tmp_path / "a.xhtml").write_text(PAGE)
    options = files.DEFAULTS.columns.__class__(language="language")
    (record,) = read(tmp_path / "a.xhtml", html="all", columns=options)
    assert isinstance(record, Record)
    assert all(word in record.text for word in ("All news", "The river", "Imprint"))
    assert "track" not in record.text
    assert record.lang == "en-GB"


def test_a_page_without_text_is_empty_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_text("<html><script>var a = 1</script><img src=a.png></html>")
    (item,) = read(tmp_path / "a.htm")
    assert isinstance(item, Malformed)
    assert (item.rule, item.problem) == ("empty", "got no text")


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


N = 100_000
HOSTILE = {
    "nested": "<div>" * N,
    "nested with ends that end nothing": "<div></x>" * N,
    "nested behind a comment": "<!-- --!>" + "<div>" * N,
    "nested in another vocabulary": "<svg><style>" + "<g>" * N,
    "cells in another vocabulary": "<svg>" + "<td>" * N,
    "tables": "<table><tr><td>" * N,
    "formatting": "".join(f"<font size={n}>" for n in range(20_000)) + "<p>x" * 20_000,
    "attributes": "<p " + " ".join(f"a{n}" for n in range(N)) + ">x",
    "bodies": "".join(f"<body a{n}>" for n in range(N)),
    "options": "<select>" + "<option>x</option>" * N,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_pages_that_would_keep_a_parser_busy_are_refused_at_once(name: str) -> None:
    refused = pytest.raises(PageError, match=r"^got (elements|an element).* expected at most")
    with no_hang(), refused:
        page_of(HOSTILE[name].encode())


@pytest.mark.parametrize(
    "page",
    [
        "<p>x" * N,
        "<ul>" + "<li>x" * N,
        "<table>" + "<tr><td>x" * 20_000,
        "\0" * N + "<p>a\0b",
        "<" * N,
        "<!--" * N,
        "&" * N,
        "<div>" * (MAX_DEPTH - 5) + "x",
        "<div>" * 150 + "<b>x</b>" * (N // 2),
        "<p " + " ".join(f"a{n}=1" for n in range(MAX_ATTRIBUTES)) + ">x",
    ],
)
def test_large_and_odd_pages_are_read(page: str) -> None:
    with no_hang():
        assert "\0" not in page_of(page.encode()).text


def test_the_cost_counts_what_is_open_and_knows_what_holds_text_only() -> None:
    assert cost(b"<div><p>a<p>b<br><img></div><div></div>") == (1, 0, 6)
    assert cost(b'<a href="<b><i>" x><script><b><i></b></script></a>').depth == 1
    assert cost(b"<b " + b"a=1 " * 7 + b">").attributes == 7
    assert MAX_STEPS > cost(PAGE.encode()).steps > 0


def test_a_page_that_ends_its_process_or_takes_too_long_costs_that_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = html_worker._free()
    worker.process.kill()
    with pytest.raises(PageError, match="did not survive"):
        worker.extract(b"<p>x", None, False)
    monkeypatch.setattr(html_worker, "LIMIT_SECONDS", 0.001)
    with pytest.raises(PageError, match="did not survive"):
        html_worker._Worker().extract(b"<p>x" * 200_000, None, False)
    monkeypatch.undo()
    assert page_of(b"<p>after").text == "after"


def test_threads_get_the_same_from_workers_of_their_own_as_from_the_function() -> None:
    pages = [PAGE.replace("river", f"river {number}").encode() for number in range(40)]
    found: dict[int, str] = {}

    def work(numbers: range) -> None:
        for number in numbers:
            found[number] = page_of(pages[number]).text

    threads = [threading.Thread(target=work, args=(range(first, 40, 3),)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(40)] == [extract(page).text for page in pages]
