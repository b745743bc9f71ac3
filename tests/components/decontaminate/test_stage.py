"""Decontamination: planted examples are found wherever they are, with evidence, whatever the shards."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from millrace.components.contract import ComponentError
from millrace.data.documents import shards as documents

RNG = random.Random(5)
VOCABULARY = ["".join(RNG.choices("bcdfghklmnprst", k=3)) + RNG.choice("aeiou") for _ in range(4000)]


def prose(words: int) -> str:
    return " ".join(RNG.choice(VOCABULARY) for _ in range(words))


HEADER = prose(40)
QUESTION, CHOICE, ANSWERED, SHORT, TINY = prose(30), prose(12), prose(20), prose(9), prose(1)
HELD_OUT = HEADER + " " + prose(300)
BENCHMARKS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "quiz": (
        "multiple_choice",
        [
            {"id": "q1", "prompt": QUESTION, "choices": [prose(12), CHOICE], "answer": 1},
            {"id": "q2", "prompt": TINY, "choices": ["a", "b"], "answer": 0},
        ],
    ),
    "solve": (
        "generation",
        [{"id": "g1", "prompt": ANSWERED, "answer": "42"}, {"id": "g2", "prompt": SHORT, "answer": "x"}],
    ),
    "texts": ("text", [{"id": "t1", "text": HELD_OUT, "source": "b"}]),
}


def benchmarks(folder: Path, sets: dict[str, tuple[str, list[dict[str, Any]]]] | None = None) -> Path:
    folder.mkdir()
    index = []
    for name, (kind, rows) in (BENCHMARKS if sets is None else sets).items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        index.append({"name": name, "type": kind, "examples": len(rows), "file": f"{name}.jsonl"})
    (folder / "index.json").write_text(json.dumps({"benchmarks": index}))
    return folder


def corpus(folder: Path, texts: list[str], shards: int) -> Path:
    folder.mkdir()
    columns = {"lang": "", "locator": "", "metadata": "{}"}
    rows = [
        {**columns, "doc_id": f"{i:032x}", "text": text, "source": "ab"[i % 2], "uri": f"file{i}"}
        for i, text in enumerate(texts)
    ]
    size = -(-len(rows) // shards)
    for index in range(shards):
        part = rows[index * size : (index + 1) * size]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


PLANTED = {
    3: f"Über {prose(50)} -- " + ", ".join([*QUESTION.split()[12:], CHOICE.upper().replace(" ", "; ")]) + "!",
    4: prose(30) + " " + ANSWERED.replace(" ", "\n") + " 42 " + prose(30),
    5: f"Ünd {prose(30)} " + SHORT.replace("a", "\u200ba") + " X",
    6: prose(100) + " " + " ".join(HELD_OUT.split()[100:230]) + prose(100),
    7: prose(100) + " " + " ".join(HELD_OUT.split()[100:130]) + prose(100),
    8: prose(50) + " " + " ".join(QUESTION.split()[:5]) + " " + prose(50),
    9: prose(50) + " " + QUESTION + " " + CHOICE + ". " + QUESTION.upper() + "? " + prose(20),
}
CLEAN = [f"{HEADER} {prose(80)}" for _ in range(25)]
TEXTS = [PLANTED.get(i, text) for i, text in enumerate(CLEAN)]
CONTAMINATED = {3, 4, 5, 6, 9}


def decisions_of(folder: Path) -> dict[int, dict[str, Any]]:
    rows = [row for path in documents.shard_paths(folder) for row in pq.read_table(path).to_pylist()]
    return {int(row["doc_id"], 16): {**row, "evidence": json.loads(row["evidence"])} for row in rows}


def rows_of(folder: Path) -> dict[int, str]:
    rows = [row for path in documents.shard_paths(folder) for row in pq.read_table(path).to_pylist()]
    return {int(row["doc_id"], 16): row["text"] for row in rows}


def report_of(done: Any) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((done.outputs["report"] / "report.json").read_text())
    return report


def inputs_of(folder: Path, shards: int = 1) -> dict[str, Path]:
    return {"documents": corpus(folder / "c", TEXTS, shards), "benchmarks": benchmarks(folder / "b")}


@pytest.mark.parametrize(
    "config", [{}, {"action": "cut", "sample_documents": 5, "max_document_frequency": 2}]
)
def test_shards_do_not_matter(run_component: Any, tmp_path: Path, config: dict[str, Any]) -> None:
    """One shard or seven give the same decisions, documents and report, also from a sample."""
    found = []
    given = benchmarks(tmp_path / "b")
    for shards in (1, 7):
        folder = corpus(tmp_path / f"c{shards}", TEXTS, shards)
        done = run_component("decontaminate", config, {"documents": folder, "benchmarks": given})
        html = (done.outputs["report"] / "report.html").read_text()
        outputs = (decisions_of(done.outputs["decisions"]), rows_of(done.outputs["documents"]))
        found.append((*outputs, report_of(done), html))
    assert found[0] == found[1]


def test_planted_examples_are_dropped_with_the_span(run_component: Any, tmp_path: Path) -> None:
    """A changed copy is found and its span shown; the header that documents share and a few words of it are not."""
    done = run_component("decontaminate", {}, inputs_of(tmp_path, 2))
    decisions = decisions_of(done.outputs["decisions"])
    dropped = {i: one["evidence"] for i, one in decisions.items() if one["action"] == "drop"}
    assert set(dropped) == CONTAMINATED
    assert set(rows_of(done.outputs["documents"])) == set(range(25)) - CONTAMINATED
    assert dropped[3]["span"] == ", ".join([*QUESTION.split()[12:], CHOICE.upper().replace(" ", "; ")])
    assert (dropped[4]["benchmark"], dropped[4]["example"]) == ("solve", "g1")
    assert dropped[4]["span"] in (ANSWERED.replace(" ", "\n") + end for end in ("", " 42"))
    assert (dropped[5]["example"], dropped[5]["span"]) == ("g2", SHORT.replace("a", "\u200ba") + " X")
    assert dropped[6]["benchmark"] == "texts"
    assert 0.33 <= dropped[6]["coverage"] < 0.6
    assert dropped[9]["question"] == dropped[9]["answer"] == 1.0
    for i, evidence in dropped.items():
        assert TEXTS[i][evidence["start"] : evidence["end"]].startswith(evidence["span"])
        assert decisions[i]["rule"] == "contaminated"


def test_cutting_leaves_the_rest(run_component: Any, tmp_path: Path) -> None:
    """Spans go, the words around stay, a second copy goes as well; nothing is found in what goes out."""
    inputs = inputs_of(tmp_path)
    done = run_component("decontaminate", {"action": "cut"}, inputs)
    decisions = decisions_of(done.outputs["decisions"])
    assert {i for i, one in decisions.items() if one["action"] == "edit"} == CONTAMINATED
    left = rows_of(done.outputs["documents"])
    assert left[9].split() == [*PLANTED[9].split()[:50], *PLANTED[9].split()[-20:]]
    assert all(decisions[i]["bytes_after"] == len(text.encode()) for i, text in left.items())
    assert all(left[i] == TEXTS[i] for i in set(range(25)) - CONTAMINATED)
    again = run_component("decontaminate", {}, {**inputs, "documents": done.outputs["documents"]})
    assert again.metrics["contaminated_examples"] == 0


def test_a_document_of_which_little_is_left_is_dropped(run_component: Any, tmp_path: Path) -> None:
    """A document with fewer than min_words_left words after the cut is dropped as ``too_small``."""
    config = {"action": "cut", "min_words_left": 60}
    done = run_component("decontaminate", config, inputs_of(tmp_path))
    small = {i for i, one in decisions_of(done.outputs["decisions"]).items() if one["rule"] == "too_small"}
    assert small == {3, 5} | ({4} if 4 in small else set())


def test_the_report_counts_examples_and_where_they_were(run_component: Any, tmp_path: Path) -> None:
    """Shares are of examples; too short ones are counted apart; common triples are those of the header."""
    done = run_component("decontaminate", {}, inputs_of(tmp_path))
    report = report_of(done)
    found = report["benchmarks"]
    quiz, texts = found["quiz"], found["texts"]
    assert (quiz["share"], quiz["too_short"], quiz["contaminated"], quiz["fully"]) == (0.5, 1, 1, 1)
    assert (found["solve"]["share"], found["solve"]["remaining"], found["solve"]["clean"]) == (1.0, 0, 0)
    assert (texts["partly"], texts["fully"], texts["documents_by_source"]) == (1, 0, {"a": 1})
    assert texts["hits"][0]["uri"] == "file6"
    assert report["common"]["triples"] == 40 - 3 + 1
    assert report["common"]["most_common"][0]["text"] in HEADER
    assert done.metrics["contaminated_examples"] == 4
    assert done.metrics["dropped.contaminated"] == 5
    page = (done.outputs["report"] / "report.html").read_text()
    assert CHOICE.upper().replace(" ", "; ") in page
    assert len(page) < 500_000


def test_a_run_tells_its_own_recall(run_component: Any, tmp_path: Path) -> None:
    """Planted copies are found; shuffled ones are counted apart; metrics and report agree."""
    done = run_component("decontaminate", {"test_examples": 4}, inputs_of(tmp_path))
    tested = report_of(done)["self_test"]
    assert tested["examples"] == 4
    assert done.metrics["recall"] == tested["recall"] == 1.0
    assert done.metrics["recall.verbatim"] == tested["found"]["verbatim"] / 4
    assert "false_positives.shuffled" in done.metrics
    inputs = {"documents": tmp_path / "c", "benchmarks": tmp_path / "b"}
    again = run_component("decontaminate", {"test_examples": 4}, inputs, seed=1)
    assert report_of(again)["self_test"]["recall"] == 1.0


def test_a_recall_that_is_too_low_fails(run_component: Any, tmp_path: Path) -> None:
    """A threshold that finds too little, or examples that cannot be told from chance, stop the run and say what to do."""
    inputs = inputs_of(tmp_path)
    with pytest.raises(ComponentError, match=r"expected at least 90\.0% \(min_recall\).*quiz"):
        run_component(
            "decontaminate", {"max_document_frequency": 1, "min_score": 60, "min_coverage": 1.0}, inputs
        )
    tiny = {"sums": ("generation", [{"id": "1", "prompt": "2 + 2 =", "answer": "4"}])}
    with pytest.raises(ComponentError, match="too short or too common"):
        run_component("decontaminate", {}, {**inputs, "benchmarks": benchmarks(tmp_path / "t", tiny)})
    done = run_component("decontaminate", {"min_recall": 0.0}, {**inputs, "benchmarks": tmp_path / "t"})
    assert report_of(done)["benchmarks"]["sums"]["too_short"] == 1


def test_a_clean_corpus_passes_untouched(run_component: Any, tmp_path: Path) -> None:
    """Without overlap every document goes on and the shares are zero."""
    inputs = {
        "documents": corpus(tmp_path / "c", [prose(50)] * 3, 1),
        "benchmarks": benchmarks(tmp_path / "b"),
    }
    done = run_component("decontaminate", {}, inputs)
    assert done.metrics["documents_out"] == 3
    assert done.metrics["contaminated_examples"] == 0
    assert done.metrics["unplanted_share"] == 0


def test_a_corpus_made_of_the_benchmark_is_an_error(run_component: Any, tmp_path: Path) -> None:
    """Dropping more than allowed fails, naming the rule; a broken benchmark file names its line."""
    inputs = {
        "documents": corpus(tmp_path / "c", [ANSWERED] * 3, 1),
        "benchmarks": benchmarks(tmp_path / "b"),
    }
    with pytest.raises(ComponentError, match="rule contaminated dropped most"):
        run_component("decontaminate", {}, inputs)
    (inputs["benchmarks"] / "quiz.jsonl").write_text('{"id": "q1"}\n')
    with pytest.raises(ComponentError, match=r"quiz\.jsonl:1"):
        run_component("decontaminate", {}, inputs)


def test_no_documents_is_an_error(run_component: Any, tmp_path: Path) -> None:
    """An artifact without documents fails as in every stage."""
    inputs = {"documents": corpus(tmp_path / "c", [], 1), "benchmarks": benchmarks(tmp_path / "b")}
    with pytest.raises(ComponentError, match="got no documents"):
        run_component("decontaminate", {}, inputs)
