"""Finding documents by what they say."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.pipelines.trace import documents
from millrace.pipelines.trace import text as text_search
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run


def test_text_is_found_exactly_and_then_with_any_white_space(run: Run) -> None:
    exact = text_search.search(run, "return request('get', url)", 10)
    assert (exact.exact, [item.document.uri for item in exact.found]) == (True, ["lib/api.py"])
    loose = text_search.search(run, "def get(url): return  request", 1)
    assert (loose.exact, loose.documents, len(loose.found)) == (False, 2, 1)
    with pytest.raises(TraceError, match="no document of the run"):
        text_search.search(run, "nobody wrote this", 10)


@pytest.mark.parametrize("builder", ["remote"], indirect=True)
def test_a_store_on_an_object_store_answers_too(run: Run) -> None:
    assert [item.document.uri for item in text_search.search(run, "raise SystemExit", 10).found] == [
        "lib/end.py"
    ]
    assert documents.document(run, "lib/api.py").readings[0].steps


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_piece_of_a_document_leads_to_it(
    run: Run, small_store: SimpleNamespace, data: st.DataObject
) -> None:
    uri = data.draw(st.sampled_from(sorted(small_store.texts)))
    text = small_store.texts[uri]
    start = data.draw(st.integers(0, len(text) - 5))
    piece = text[start : data.draw(st.integers(start + 5, len(text)))]
    if len(piece.strip()) >= text_search.SHORTEST_CHARACTERS:
        found = text_search.search(run, piece, 10).found
        assert uri in {item.document.uri for item in found}


@pytest.mark.parametrize("text", ["", " a \n", "ab"])
def test_a_text_too_short_to_mean_anything_is_refused(run: Run, text: str) -> None:
    with pytest.raises(TraceError, match="at least 3 characters"):
        text_search.search(run, text, 10)


@given(st.text("ab", max_size=300), st.integers(0, 300), st.integers(1, 20))
def test_an_excerpt_is_the_match_with_what_stands_around_it(content: str, start: int, length: int) -> None:
    start = min(start, len(content))
    end = min(start + length, len(content))
    excerpt = text_search._excerpt(content, start, end)
    shown = excerpt.removeprefix("… ").removesuffix(" …")
    assert shown in content
    assert content[start:end] in shown
    assert len(shown) <= end - start + 2 * text_search.AROUND_CHARACTERS
    assert excerpt.startswith("… ") == (start > text_search.AROUND_CHARACTERS)
    assert excerpt.endswith(" …") == (end + text_search.AROUND_CHARACTERS < len(content))
