"""Pages are read by workers that a page can neither stop nor keep busy."""

from __future__ import annotations

import threading

import pytest
from tests.corrupting import no_hang
from tests.data.sources.html.page import PAGE

from millrace.data.sources.html import worker as html_worker
from millrace.data.sources.html.cost import MAX_ATTRIBUTES, MAX_DEPTH
from millrace.data.sources.html.extract import extract
from millrace.data.sources.html.worker import PageError, page_of

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
