"""Documents of the web: main text or all that is visible, what a page says of itself, and what else is known."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.data.sources.html.page import PAGE, PARAGRAPH

from millrace.data.sources import files
from millrace.data.sources.html.pages import html_item, plain_item
from millrace.data.sources.records import Columns, Malformed, Options, Record, Where


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


HERE = Where("crawl.warc", "crawl.warc", 1000)


def test_known_facts_go_before_what_a_page_says_of_itself() -> None:
    facts = {"url": "https://mill.org/a", "date": "2024"}
    item = html_item(PAGE.encode(), HERE, Options(), locator="17", facts=facts)
    assert isinstance(item, Record)
    assert (item.locator, item.key) == ("17", "17")
    assert (item.metadata["url"], item.metadata["date"]) == ("https://mill.org/a", "2024")
    assert item.metadata["title"] == "Floods of the valley"


@pytest.mark.parametrize(
    ("charset", "encoding", "text", "told"),
    [
        ("windows-1250", "auto", "Größe", "cp1250"),
        ("utf-8", "auto", "Größe", None),
        (None, "cp1252", "Größe", None),
        ("nonsense", "auto", "Größe", None),
    ],
)
def test_a_plain_text_is_read_as_its_server_or_the_spec_says(
    charset: str | None, encoding: str, text: str, told: str | None
) -> None:
    used = "cp1250" if told else "cp1252" if encoding == "cp1252" else "utf-8"
    item = plain_item(
        text.encode(used), HERE, Options(encoding=encoding), locator="3", charset=charset, facts={"a": 1}
    )
    assert isinstance(item, Record)
    assert (item.text, item.metadata["a"]) == (text, 1)
    assert told is None or item.metadata["encoding"] == told


def test_a_language_that_is_known_is_the_documents() -> None:
    options = Options(columns=Columns(language="language"), default_language="xx", default_license="MIT")
    for facts, lang in (({"language": "de"}, "de"), ({}, "xx")):
        item = plain_item(b"text", HERE, options, locator="", charset=None, facts=facts)
        assert isinstance(item, Record)
        assert (item.lang, item.metadata["license"]) == (lang, "MIT")


@pytest.mark.parametrize(
    ("content", "rule", "problem"),
    [
        (b"a\0b", "malformed", "null character"),
        (b" \n", "empty", "no text"),
        (b"\xff\xfe\x00\xd8", "malformed", ""),
    ],
)
def test_a_plain_text_that_is_none_says_why(content: bytes, rule: str, problem: str) -> None:
    item = plain_item(content, HERE, Options(), locator="9", charset=None, facts={})
    assert isinstance(item, Malformed)
    assert (item.rule, item.locator, item.size_bytes) == (rule, "9", len(content))
    assert problem in item.problem
