"""Decontamination: planted examples are found wherever they are, with evidence, whatever the shards."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from millrace.components.contract import ComponentError
from millrace.data import documents

RNG = random.Random(5)


def prose(words: int) -> str:
    return " ".join(f"word{RNG.randrange(10**6)}" for _ in range(words))


HEADER = prose(40)
QUESTION, CHOICE, ANSWERED, SHORT, TINY = prose(30), prose(12), prose(20), prose(9), prose(5)
HELD_OUT = HEADER + " " + prose(300)
BENCHMARKS = {
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


def benchmarks(folder: Path) -> Path:
    folder.mkdir()
    index = []
    for name, (kind, rows) in BENCHMARKS.items():
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
    3: f"Über {prose(50)} -- " + ", ".join([*QUESTION.split()[-3:], CHOICE.upper().replace(" ", "; ")]) + "!",
    4: prose(20) + " " + ANSWERED.replace(" ", "\n") + " 42 " + prose(20),
    5: prose(5) + " " + SHORT + " X",
    6: prose(100) + " " + " ".join(HELD_OUT.split()[100:200]) + prose(100),
    7: prose(100) + " " + " ".join(HELD_OUT.split()[100:140]) + prose(100),
    8: prose(50) + " " + " ".join(QUESTION.split()[:12]) + " " + prose(50),
    9: prose(50) + " " + QUESTION + " " + CHOICE,
}


def texts() -> list[str]:
    """Twenty-five documents, nearly all with the header, some with planted parts of examples."""
    clean = [f"{HEADER} {prose(80)}" for _ in range(25)]
    return [PLANTED.get(i, text) for i, text in enumerate(clean)]


TEXTS = texts()


def decisions_of(folder: Path) -> dict[int, dict]:
    rows = [row for path in documents.shard_paths(folder) for row in pq.read_table(path).to_pylist()]
    return {int(row["doc_id"], 16): {**row, "evidence": json.loads(row["evidence"])} for row in rows}


@pytest.mark.parametrize("shards", [1, 4])
def test_planted_examples_are_dropped_with_their_span(run_component, tmp_path: Path, shards: int) -> None:
    """Questions by any shared n-gram, texts by coverage; boilerplate and twelve words are not enough."""
    inputs = {"documents": corpus(tmp_path / "c", TEXTS, shards), "benchmarks": benchmarks(tmp_path / "b")}
    done = run_component("decontaminate", {}, inputs)
    decisions = decisions_of(done.outputs["decisions"])
    dropped = {i: d["evidence"] for i, d in decisions.items() if d["action"] == "drop"}
    assert set(dropped) == {3, 4, 5, 6, 9}
    assert dropped[3]["span"].endswith(CHOICE.upper().replace(" ", "; "))
    assert dropped[3]["span"].startswith(QUESTION.split()[-3])
    assert (dropped[4]["benchmark"], dropped[4]["example"]) == ("solve", "g1")
    assert dropped[4]["span"] == ANSWERED.replace(" ", "\n") + " 42"
    assert (dropped[5]["example"], dropped[5]["span"]) == ("g2", SHORT + " X")
    assert dropped[6]["benchmark"] == "texts"
    assert 0.2 <= dropped[6]["coverage"] < 0.5
    assert dropped[9]["coverage"] == 1.0
    for i, evidence in dropped.items():
        assert TEXTS[i][evidence["start"] : evidence["end"]].startswith(evidence["span"])
    kept = {int(row["doc_id"], 16) for row in pq.read_table(done.outputs["documents"]).to_pylist()}
    assert kept == set(range(25)) - set(dropped)


def test_the_report_counts_examples_and_where_they_were(run_component, tmp_path: Path) -> None:
    """Shares are of examples; too short ones are counted apart; common n-grams are those of the header."""
    inputs = {"documents": corpus(tmp_path / "c", TEXTS, 2), "benchmarks": benchmarks(tmp_path / "b")}
    done = run_component("decontaminate", {}, inputs)
    found = json.loads((done.outputs["report"] / "report.json").read_text())["benchmarks"]
    assert (found["quiz"]["share"], found["quiz"]["too_short"], found["quiz"]["contaminated"]) == (0.5, 1, 1)
    assert (found["solve"]["share"], found["solve"]["remaining"]) == (1.0, 0)
    assert found["texts"]["documents_by_source"] == {"a": 1}
    assert found["texts"]["common_ngrams"] == 40 - 13 + 1
    assert found["texts"]["hits"][0]["uri"] == "file6"
    assert done.metrics["contaminated_examples"] == 4
    assert done.metrics["dropped.contaminated"] == 5


def test_a_clean_corpus_passes_untouched(run_component, tmp_path: Path) -> None:
    """Without overlap every document goes on and the shares are zero."""
    inputs = {
        "documents": corpus(tmp_path / "c", [prose(50)] * 3, 1),
        "benchmarks": benchmarks(tmp_path / "b"),
    }
    done = run_component("decontaminate", {}, inputs)
    assert done.metrics["documents_out"] == 3
    assert done.metrics["contaminated_examples"] == 0


def test_a_corpus_made_of_the_benchmark_is_an_error(run_component, tmp_path: Path) -> None:
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
