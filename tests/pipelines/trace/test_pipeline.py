"""Traces of a real run of the data stages: what deduplication and decontamination write is what tracing reads."""

from __future__ import annotations

import json
import random

import pytest
from typer.testing import CliRunner

from millrace.pipelines.cli import app
from millrace.pipelines.store.store import Store
from millrace.pipelines.trace import documents
from millrace.pipelines.trace import text as text_search
from millrace.pipelines.trace.runs import Run, open_run

SPEC = """
name: traced
stages:
  ingest: {uses: ingest, with: {sources: {mine: {type: files, paths: [texts/*.jsonl], id_column: name}}}}
  dedup: {uses: dedup, inputs: {documents: ingest.documents}}
  benchmarks: {uses: benchmarks, with: {files: {exam: exam.jsonl}}}
  decontaminate: {uses: decontaminate, inputs: {documents: dedup.documents, benchmarks: benchmarks.benchmarks}}
"""
QUESTION = "Which of the seven rivers that cross the old northern province freezes first in a long winter?"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of a run over twelve stories, one of them twice and one with a benchmark's question in it."""
    folder = tmp_path_factory.mktemp("traced")
    draw = random.Random(0)
    words = [f"word{number}" for number in range(300)]
    stories = {f"story{number}": " ".join(draw.choices(words, k=400)) for number in range(10)}
    stories["copy"] = stories["story3"].rsplit(" ", 6)[0] + " but with another end"
    stories["leak"] = (
        f"{' '.join(draw.choices(words, k=50))} {QUESTION} {' '.join(draw.choices(words, k=50))}"
    )
    (folder / "texts").mkdir()
    rows = [json.dumps({"name": name, "text": text}) for name, text in stories.items()]
    (folder / "texts" / "stories.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "exam.jsonl").write_text(
        json.dumps({"id": "7", "prompt": QUESTION, "answer": "the smallest of them"}) + "\n"
    )
    (folder / "pipeline.yaml").write_text(SPEC)
    result = CliRunner().invoke(app, ["run", str(folder / "pipeline.yaml")])
    assert result.exit_code == 0, result.output
    return Store(str(folder / ".millrace"))


def _document(run: Run, text: str) -> documents.DocumentTrace:
    found = text_search.search(run, text, 1).found[0]
    return documents.document(run, found.document.doc_id)


def test_a_near_duplicate_shows_file_rule_survivor_and_similarity(store: Store) -> None:
    with open_run(store) as run:
        dropped = _document(run, "but with another end")
        decision = dropped.decisions[-1]
        assert decision.survivor is not None
        kept = documents.document(run, decision.survivor.doc_id)
    assert (decision.stage, decision.action, decision.rule) == ("dedup", "drop", "near")
    assert dropped.document.uri.endswith("texts/stories.jsonl")
    assert decision.threshold is not None
    assert decision.threshold <= decision.evidence["similarity"] < 1
    assert kept.fate == "kept"
    assert [copy.doc_id for copy in kept.duplicates] == [dropped.document.doc_id]


def test_a_contaminated_document_shows_the_example_and_the_span(store: Store) -> None:
    with open_run(store) as run:
        dropped = _document(run, QUESTION)
        (match,) = dropped.decisions[-1].matches
        (hit,) = documents.example(run, "exam/7").hits
    assert dropped.fate == "dropped by decontaminate: contaminated"
    assert (match.benchmark, match.example) == ("exam", "7")
    assert QUESTION in match.text
    assert match.span.rstrip("?") in QUESTION
    assert hit.document == dropped.document


def test_a_document_whose_id_the_user_gave_keeps_its_place(store: Store) -> None:
    with open_run(store) as run:
        place = _document(run, QUESTION).document
        assert documents.document(run, f"{place.uri}#{place.locator}").document == place
