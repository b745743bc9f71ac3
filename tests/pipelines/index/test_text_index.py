"""The index of texts rules out only what does not contain the text."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.data.documents import shards
from millrace.data.documents.text_gram_kernel import block_bits
from millrace.data.documents.text_grams import grams_of
from millrace.pipelines.index import text_index
from millrace.pipelines.trace import text as text_search
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run, open_run

LETTERS = st.text("ab c\n\té", max_size=60)


@given(st.lists(LETTERS, min_size=1, max_size=8), st.data())
def test_the_kernel_sets_the_bits_that_queries_ask_for(texts: list[str], data: st.DataObject) -> None:
    """Of any piece of any document, its white space as it is or exchanged."""
    encoded = [text.encode() for text in texts]
    starts = np.cumsum([0, *map(len, encoded)])
    bits = block_bits(np.frombuffer(b"".join(encoded), np.uint8), starts)
    assert set(np.flatnonzero(bits.any(0)).tolist()) == {gram for text in texts for gram in grams_of(text)}
    text = data.draw(st.sampled_from(texts))
    start = data.draw(st.integers(0, len(text)))
    piece = text[start : data.draw(st.integers(start, len(text)))]
    present = np.asarray(bits.any(0))
    assert present[grams_of(piece)].all()
    assert present[grams_of(re.sub(r"\s+", "\n\n", piece))].all()


@pytest.fixture
def run(builder: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> object:
    """A run over 40 shards of one document each, whose texts are runs of counted words."""

    def fill(folder: object) -> None:
        for number in range(40):
            text = " ".join(f"w{number * 10 + at}" for at in range(30))
            row = {"doc_id": shards.document_id(str(number), ""), "text": text, "source": "s", "lang": "en",
                   "uri": str(number), "locator": "", "metadata": "{}"}  # fmt: skip
            shards.write_shard(folder / shards.shard_name(number), shards.documents_table([row]))  # type: ignore[operator]

    builder.stage("ingest", "ingest", {"documents": ("documents", fill)})
    builder.run()
    monkeypatch.setattr(text_index, "LEAST_SHARDS", 2)
    monkeypatch.setattr(text_index, "SEGMENT_COLUMNS", 7)
    with open_run(builder.store) as opened:
        yield opened


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 430), words=st.integers(2, 12), space=st.sampled_from([" ", "\n", "  "]))
def test_a_search_with_the_index_is_the_search_without(run: Run, first: int, words: int, space: str) -> None:
    phrase = space.join(f"w{first + at}" for at in range(words))
    answers: list[object] = []
    for least in (2, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(text_index, "LEAST_SHARDS", least)
            try:
                answers.append(text_search.search(run, phrase, 5, count_all=True))
            except TraceError as error:
                answers.append(str(error))
    assert answers[0] == answers[1]


def test_only_shards_that_may_contain_the_text_are_searched(run: Run) -> None:
    ((digest, files),) = text_search._shards(run).items()
    assert text_index.candidates(run.store, digest, files, "w15 w16 w17") == files[:2]
    assert text_index.candidates(run.store, digest, files, "w15") == files


def test_a_common_text_is_counted_only_on_demand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_search, "LEAST_SEARCHED", 8)
    few, every = (text_search.search(run, "9 w", 3, count_all=count_all) for count_all in (False, True))
    assert (few.complete, few.documents, every.complete, every.documents) == (False, 8, True, 40)
    assert few.found == every.found
