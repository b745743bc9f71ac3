"""What traces say, on a small store made by hand."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from millrace.pipelines.cli import app
from millrace.pipelines.index import lineage
from millrace.pipelines.trace import artifacts, documents, find, order, training
from millrace.pipelines.trace import text as text_search
from millrace.pipelines.trace.errors import TraceError
from millrace.pipelines.trace.runs import Run, open_run


@pytest.fixture
def run(small_store: SimpleNamespace) -> Iterator[Run]:
    with open_run(small_store.store) as opened:
        yield opened


def test_a_near_duplicate_names_its_file_rule_survivor_and_similarity(run: Run) -> None:
    traced = documents.document(run, "vendored/api.py")
    last = traced.decisions[-1]
    assert (traced.document.uri, last.stage, last.rule) == ("vendored/api.py", "dedup", "near")
    assert last.survivor is not None
    assert last.survivor.uri == "lib/api.py"
    assert last.evidence["similarity"] == 0.91
    assert traced.fate == "dropped by dedup: near"
    assert [copy.uri for copy in documents.document(run, "lib/api.py").duplicates] == ["vendored/api.py"]


def test_a_contaminated_file_shows_the_example_and_the_span(run: Run, small_store: SimpleNamespace) -> None:
    traced = documents.document(run, small_store.id("docs/leak.md")[:6])
    match, also = traced.decisions[-1].matches
    assert (also.example, also.span) == ("answer", "")
    assert (match.benchmark, match.example, match.span) == ("foxes", "q1", "it sleeps for a while")
    assert "What does the fox do?" in match.text
    (hit,) = documents.example(run, "foxes/q1").hits
    assert (hit.document.uri, hit.fate) == ("docs/leak.md", "dropped by decontaminate: contaminated")


def test_decisions_stand_in_running_order(run: Run) -> None:
    traced = documents.document(run, "lib/api.py")
    assert [item.stage for item in traced.decisions] == ["ingest", "filter", "dedup", "decontaminate"]


def test_a_held_out_document_names_the_examples_made_of_it(run: Run) -> None:
    traced = documents.document(run, "held/exam.py")
    assert traced.fate == "held out for evaluation"
    assert [f"{made.file}/{made.id}" for made in traced.examples] == ["foxes/answer"]
    origin = documents.example(run, "foxes/answer").document
    assert origin is not None
    assert origin.uri == "held/exam.py"


def test_a_record_that_could_not_be_read_is_found_by_its_file(run: Run) -> None:
    traced = documents.document(run, "docs/bad.md")
    assert traced.fate == "dropped by ingest: malformed"
    assert (traced.document.locator, traced.document.lang) == ("7", None)


def test_training_steps_are_those_whose_rows_hold_the_document(run: Run) -> None:
    traced = documents.document(run, "lib/api.py")
    (reading,) = traced.readings
    found = []
    for number in range(reading.total_steps):
        for row in training.step(run, number).rows:
            if any(part.document.uri == "lib/api.py" for part in row.parts):
                found.append((number, row.row))
    assert list(reading.steps) == found
    assert sum(reading.phases.values()) == len(found)


def test_the_parts_of_a_row_add_up_to_it(run: Run) -> None:
    for row in training.step(run, 3).rows:
        assert sum(part.length for part in row.parts) == row.length


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ffffffffffff", "closest: "),
        ("abc", "at least 6 digits"),
        ("nowhere/apy.py", "closest:\n.*api.py"),
        ("lib/zzzzzzzz", "has no document 'lib/zzzzzzzz'; `millrace trace text`"),
    ],
)
def test_an_unknown_document_gets_the_closest(run: Run, word: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        find.find_document(run, word)


def test_the_end_of_a_uri_must_fit_one_document(run: Run, small_store: SimpleNamespace) -> None:
    assert find.find_document(run, "setup.py").doc_id == small_store.id("lib/setup.py")
    with pytest.raises(TraceError, match=r"2 documents fit.*\n.*lib/api.py\n.*vendored/api.py"):
        find.find_document(run, "api.py")


def test_a_document_of_another_run_names_that_run(small_store: SimpleNamespace) -> None:
    builder = small_store.builder
    builder.keys = {"filter": builder.keys["filter"]}
    builder.run("20250301-000000-cccc")
    with (
        open_run(small_store.store) as newest,
        pytest.raises(TraceError, match="--run 20250101-000000-aaaa"),
    ):
        documents.document(newest, small_store.id("lib/api.py"))
    with open_run(small_store.store, run="20250101") as first:
        assert documents.document(first, small_store.id("lib/api.py")).fate == "kept, 300 tokens"


def test_a_store_without_runs_says_so(builder: SimpleNamespace) -> None:
    with (
        pytest.raises(TraceError, match="no finished stage of the pipeline 'mine'"),
        open_run(builder.store, pipeline="mine"),
    ):
        pass


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


def test_an_artifact_leads_up_to_the_sources_and_down_to_the_model(small_store: SimpleNamespace) -> None:
    index = lineage.open_index(small_store.store)
    traced = artifacts.artifact(small_store.store, index, small_store.digests["dedup.documents"][:10])
    assert (traced.makers[0].stage, traced.makers[0].port) == ("dedup", "documents")
    (above,) = traced.inputs
    assert (above.stage, above.children[0].stage, above.children[0].children) == ("filter", "ingest", ())
    below = json.dumps([vars(item) for item in traced.uses], default=vars)
    stages = sorted(re.findall(r'"stage": "(\w+)"', below))
    assert stages == ["decontaminate", "decontaminate", "pretrain", "tokenize"]
    index.close()


def test_an_artifact_that_no_record_names_is_traced_by_its_manifest(small_store: SimpleNamespace) -> None:
    builder = small_store.builder
    (small_store.store.scratch / "stages" / f"{builder.keys['pretrain']}.json").unlink()
    index = lineage.open_index(small_store.store)
    traced = artifacts.artifact(small_store.store, index, small_store.digests["pretrain.model"])
    assert traced.makers[0].stage == "pretrain"
    assert [above.stage for above in traced.inputs] == ["tokenize"]
    index.close()


def test_an_unknown_artifact_and_example_get_the_closest(run: Run, small_store: SimpleNamespace) -> None:
    with pytest.raises(TraceError, match="has no artifact"):
        artifacts.artifact(small_store.store, run.index, "0123456789")
    with pytest.raises(TraceError, match="did you mean 'foxes'"):
        documents.example(run, "foxe/q1")
    with pytest.raises(TraceError, match="closest: foxes/answer"):
        documents.example(run, "foxes/answers")


@pytest.mark.parametrize("words", [["doc", "lib/api.py"], ["step", "3"], ["text", "def  get"]])
def test_a_question_imports_only_what_its_answer_needs(
    small_store: SimpleNamespace, words: list[str]
) -> None:
    """When it has been asked before, neither components and their models nor Arrow's functions and datasets."""
    program = (
        "import json, sys\n"
        f"sys.argv = {['millrace', 'trace', *words, '--store', small_store.store.uri]!r}\n"
        "from millrace.pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    loaded = json.loads(done.stderr.splitlines()[-1])
    unneeded = (
        "pyarrow.compute",
        "pyarrow.dataset",
        "numpy.ma",
        "millrace.pipelines.spec.models",
        "fsspec",
        "numba",
    )
    assert not [name for name in loaded if name in unneeded or name.startswith("millrace.components.")]


def test_the_order_of_a_training_is_worked_out_once(
    small_store: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for _ in range(2):
        with open_run(small_store.store) as run:
            answers.append((training.step(run, 3), documents.document(run, "lib/api.py").readings))
        monkeypatch.setattr(order, "recorded_config", None)
    assert answers[0] == answers[1]


def test_an_index_that_is_being_written_still_answers(small_store: SimpleNamespace) -> None:
    with (
        open_run(small_store.store) as run,
        sqlite3.connect(small_store.store.scratch / lineage.FILE) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        assert training.step(run, 3).rows
        other.rollback()
    other.close()


@pytest.mark.parametrize("width", ["80", "160"])
@pytest.mark.parametrize(
    "words",
    [["doc", "docs/leak.md"], ["text", "def get"], ["example", "foxes/q1"], ["step", "3"], ["artifact", ""]],
)
def test_every_trace_prints_within_the_terminal_and_as_json(
    small_store: SimpleNamespace, words: list[str], width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    words = [word or small_store.digests["tokenize.tokens"] for word in words]
    command = ["trace", *words, "--store", small_store.store.uri]
    plain = CliRunner().invoke(app, command)
    assert plain.exit_code == 0, plain.output
    whole = [line for line in plain.output.splitlines() if not re.search(r"[0-9a-f]{64}|/", line)]
    assert max(map(len, whole)) <= int(width)
    answer = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert answer
