"""The screen loses nothing: chaining all pairs finds what chaining those that it passes finds."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.contamination import chains, index, screen, triples
from millrace.data.text.batch import from_texts

SENTENCES = st.lists(
    st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]), min_size=3, max_size=24
).map(" ".join)
EXAMPLES = st.lists(st.lists(SENTENCES, min_size=1, max_size=4), min_size=1, max_size=4)


def everything(hits: triples.Hits, runs: Any, least: Any, *rest: Any) -> tuple[Any, Any]:
    """Every pair of a document with hits and an example."""
    pairs = [(row, example) for row in sorted(set(hits.rows.tolist())) for example in range(least.size)]
    rows, examples = np.array(pairs, np.int64).reshape(-1, 2).T
    return rows, examples


@given(EXAMPLES, st.lists(SENTENCES, max_size=4), st.floats(1.0, 60.0), st.floats(0.05, 1.0))
def test_no_pair_is_lost(
    examples: list[list[str]], documents: list[str], min_score: float, coverage: float
) -> None:
    """Few different words make every document repeat every example, in disorder and with repeats."""
    rows = [(fields, 1 if len(fields) > 1 else 0) for fields in examples]
    made = index.build(index.prepare(index.Examples.of(rows)), from_texts(["z"] * 60), 10).index
    batch = from_texts([*documents, *(" ".join(fields) for fields in examples)])
    rule = chains.Rule(coverage, min_score)
    screened = chains.match(made, batch, rule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "candidates", everything)
        unscreened = chains.match(made, batch, rule)
    for some, all_ in zip(screened, unscreened, strict=True):
        assert some.tolist() == all_.tolist()


def test_next_to_nothing_of_chance_is_passed() -> None:
    """Single triples of many examples are no pair; the one example that is there is."""
    draw = random.Random(0)
    vocabulary = [f"w{number}" for number in range(200)]
    examples = [" ".join(draw.choices(vocabulary, k=20)) for _ in range(300)]
    documents = [" ".join(draw.choices(vocabulary, k=300)) for _ in range(20)]
    documents[7] += " " + examples[3]
    made = index.build(
        index.prepare(index.Examples.of([((text,), 0) for text in examples])), from_texts(["w"]), 10
    ).index
    from millrace.data.contamination import words

    hits = triples.find(words.hashes(from_texts(documents)), made.lookup)
    rows, found = screen.candidates(hits, made.runs, made.total_bits[:, 0] * 0.25, 15.0, 2.0)
    assert (7, 3) in set(zip(rows.tolist(), found.tolist(), strict=True))
    assert rows.size < 20


def test_words_of_long_and_many_documents_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """An example in each of many documents is found in each, and slices of one document give the same."""
    text = "one two three four five six seven eight nine ten"
    made = index.build(index.prepare(index.Examples.of([((text,), 0)])), from_texts(["x"] * 50), 10).index
    batch = from_texts([f"{text} and more" if at % 3 else "nothing here" for at in range(3000)])
    rule = chains.Rule(0.33, 20.0)
    whole = chains.match(made, batch, rule)
    assert whole.rows.tolist() == [at for at in range(3000) if at % 3]
    monkeypatch.setattr(chains, "SLICE_BYTES", 1)
    assert chains.match(made, batch, rule).rows.tolist() == whole.rows.tolist()
