"""The cost of a page counts what a parser would have open."""

from __future__ import annotations

from tests.data.sources.html.page import PAGE

from millrace.data.sources.html.cost import MAX_STEPS, cost


def test_the_cost_counts_what_is_open_and_knows_what_holds_text_only() -> None:
    assert cost(b"<div><p>a<p>b<br><img></div><div></div>") == (1, 0, 6)
    assert cost(b'<a href="<b><i>" x><script><b><i></b></script></a>').depth == 1
    assert cost(b"<b " + b"a=1 " * 7 + b">").attributes == 7
    assert MAX_STEPS > cost(PAGE.encode()).steps > 0
