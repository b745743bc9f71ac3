"""Documents of the web as records: what is known of a page beside what it says of itself, and plain texts."""

from __future__ import annotations

import pytest
from tests.data.sources.html.page import PAGE

from millrace.data.sources.html.pages import html_item, plain_item
from millrace.data.sources.records import Columns, Malformed, Options, Record, Where

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
