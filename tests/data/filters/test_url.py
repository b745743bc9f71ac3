"""URL rules: what a domain is, and words, parts and patterns in any spelling."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.filters import url
from millrace.data.text.batch import from_texts


def measured(text: str, **lists: list[str]) -> dict[str, float]:
    return {
        name: column[0]
        for name, column in url.measure(from_texts([text]), url.compile_lists(**lists)).items()
    }


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        ("https://example.com/a", 1),
        ("http://www.Example.COM:8080?x", 1),
        ("//a.b.example.com", 1),
        ("https://user:pw@example.com./", 1),
        ("https://notexample.com/", 0),
        ("https://example.com.evil.org/", 0),
        ("https://evil.org/example.com", 0),
        ("https://evil.org/?u=https://example.com", 0),
        ("https://example.com@evil.org/", 0),
        ("example.com/page", 0),
        ("/home/example.com/file", 0),
        ("ftp://sub.xn--bcher-kva.de/", 1),
        ("", 0),
    ],
)
def test_a_blocked_domain_blocks_itself_and_those_below_it(text: str, blocked: int) -> None:
    lists = {"domains": ["*.example.com", "bücher.de"]}
    assert measured(text, **lists)["blocked_domains"] == blocked


@given(st.from_regex(r"\Ahttps?://([a-c]@)?[a-c]{1,2}(\.[a-c]{1,2}){0,2}(:[0-9])?([/?#][a-c./@:]{0,6})?\Z"))
def test_domains_are_those_of_the_standard_library(text: str) -> None:
    host = urlsplit(text).hostname or ""
    expected = any(host == domain or host.endswith("." + domain) for domain in ("a.b", "c"))
    assert measured(text, domains=["a.b", "c"])["blocked_domains"] == expected


def test_words_are_whole_soft_words_are_different_ones_and_parts_are_anywhere() -> None:
    text = "https://x.org/Bad-bad/soft_soft-meek/badly?su%62=1"
    found = measured(text, words=["bad"], soft_words=["soft", "meek", "mild"], parts=["org-BAD", "ftso"])
    assert found["blocked_words"] == 2
    assert found["soft_words"] == 2
    assert found["blocked_parts"] == 2


def test_patterns_are_re2s() -> None:
    assert measured("https://x.org/id/123", patterns=["^ftp:", r"/id/\d+$"])["blocked_patterns"] == 1
    assert measured("https://x.org/id/", patterns=["^ftp:", r"/id/\d+$"])["blocked_patterns"] == 0
    with pytest.raises(ValueError, match="expected RE2's syntax"):
        url.compile_lists(patterns=["(?=a)"])


def test_entries_that_could_never_match_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one word"):
        url.compile_lists(words=["two words"])
    with pytest.raises(ValueError, match="got the list entry"):
        url.compile_lists(parts=["--"])


@given(st.lists(st.text(st.sampled_from("aé漢/:.?@#A"), max_size=12), max_size=5))
def test_a_urls_values_do_not_depend_on_its_neighbours(urls: list[str]) -> None:
    lists = url.compile_lists(["a"], ["é"], ["a"], ["aa", "漢"], ["a.a"])
    together = url.measure(from_texts(urls), lists)
    for index, text in enumerate(urls):
        alone = url.measure(from_texts([text]), lists)
        assert all(alone[name][0] == together[name][index] for name in url.VALUES)
