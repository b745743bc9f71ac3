"""One shard: the evidence quotes what stands there, and a cut leaves nothing that would be found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.components.decontaminate import planting

from millrace.components.decontaminate import examples
from millrace.components.decontaminate.config import DecontaminateConfig
from millrace.components.decontaminate.shard import SPANS, clean_shard, hit_order
from millrace.data.documents.shards import document_id, documents_table, shard_name, write_shard
from millrace.data.examples.benchmark_files import Benchmark

EXAMPLES = planting.examples(SPANS + 4)
BEFORE = "Zwölf Mühlen — the mill stood by the river, and people came to it from all the villages. "
AFTER = " Then they went home with their flour and baked bread in the big oven of the village."


@pytest.fixture
def work(tmp_path: Path) -> Path:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(EXAMPLES)]
    made = [Benchmark(name="exam", type="text", examples=rows)]
    numbered, prepared = examples.prepare(made)
    indexed = examples.index_examples(DecontaminateConfig(), prepared, [BEFORE, AFTER])
    folder = tmp_path / "work"
    folder.mkdir()
    examples.save(numbered, indexed, folder)
    return folder


def clean(
    work: Path, texts: list[str], **config: Any
) -> tuple[list[str], list[dict[str, Any]], dict[str, Any]]:
    """The texts that go on, the decisions, and what the shard tells."""
    folders = tuple(str(work / name) for name in ("documents", "decisions"))
    for folder in folders:
        Path(folder).mkdir(exist_ok=True)
    rows = [
        {"doc_id": document_id(str(n), ""), "text": text, "source": "s", "uri": str(n)}
        | {"lang": "en", "locator": "", "metadata": "{}"}
        for n, text in enumerate(texts)
    ]
    path = work / "in.parquet"
    write_shard(path, documents_table(rows))
    told = clean_shard(DecontaminateConfig(**config), str(work), (folders[0], folders[1]), (3, str(path)))
    documents, decisions = (pq.read_table(Path(folder) / shard_name(3)).to_pylist() for folder in folders)
    return [row["text"] for row in documents], decisions, told


def test_the_evidence_quotes_the_text_at_its_characters(work: Path) -> None:
    text = BEFORE + EXAMPLES[2] + "." + AFTER
    kept, (clean_one, dropped), told = clean(work, [AFTER, text])
    assert kept == [AFTER]
    assert (clean_one["action"], dropped["action"], dropped["rule"]) == ("keep", "drop", "contaminated")
    evidence = json.loads(dropped["evidence"])
    assert (evidence["benchmark"], evidence["example"], evidence["examples"]) == ("exam", "2", 1)
    assert text[evidence["start"] : evidence["end"]] == evidence["span"] == EXAMPLES[2]
    assert told["documents"] == {"exam": {"s": 1}}
    assert told["examples"][0][0] == 2


def test_a_document_of_many_examples_names_them_and_quotes_some(work: Path) -> None:
    _, (dropped,), told = clean(work, [BEFORE + " ".join(EXAMPLES)])
    evidence = json.loads(dropped["evidence"])
    assert evidence["examples"] == len(EXAMPLES)
    assert 1 + len(evidence["spans"]) == SPANS
    named = {evidence["example"], *(example for _, example in evidence["also"])}
    assert named == {str(number) for number in range(len(EXAMPLES))}
    assert told["documents"] == {"exam": {"s": 1}}


def test_a_cut_takes_every_repetition_with_its_punctuation_and_leaves_the_rest(work: Path) -> None:
    text = f"{BEFORE}{EXAMPLES[0]}.{AFTER} {EXAMPLES[1]}?!{AFTER} {EXAMPLES[0]}"
    (left,), (decision,), _ = clean(work, [text], action="cut", min_words_left=3)
    assert decision["action"] == "edit"
    assert not set(left.split()) & set(" ".join(EXAMPLES).split())
    assert left.startswith(BEFORE.strip())
    assert left.count(AFTER.strip()) == 2
    assert "?!" not in left
    again, (decision,), _ = clean(work, [left], action="cut")
    assert (again, decision["action"]) == ([left], "keep")


def test_a_document_of_which_too_little_is_left_is_dropped(work: Path) -> None:
    kept, (decision,), _ = clean(work, [f"one two. {EXAMPLES[0]}"], action="cut", min_words_left=3)
    assert (kept, decision["action"], decision["rule"], decision["score"]) == ([], "drop", "too_small", 2)


def test_the_fullest_repetition_comes_first() -> None:
    hits = [{"bits": bits, "example": name, "doc_id": "d"} for bits, name in ((5, "a"), (9, "b"), (9, "a"))]
    assert [(hit["bits"], hit["example"]) for hit in sorted(hits, key=hit_order)] == [
        (9, "a"),
        (9, "b"),
        (5, "a"),
    ]
