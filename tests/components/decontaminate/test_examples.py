"""Examples as they are looked for: numbered through all benchmarks, with their right answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from millrace.components.contract import ComponentError
from millrace.components.decontaminate import examples
from millrace.components.decontaminate.config import DecontaminateConfig
from millrace.data.contamination.index import Index
from millrace.data.examples.benchmark_files import Benchmark

CHOICE = {"id": 7, "prompt": "Which river?", "choices": ["the Elbe", "the Rhine"], "answer": 1}
ANSWER = {"id": "g", "prompt": "Who wrote it?", "answer": "a miller"}
RARE = "quartz zephyrs vex jumbled oxen while fjord wizards hum"


def benchmark(name: str, kind: str, *rows: Mapping[str, object]) -> Benchmark:
    return Benchmark(name=name, type=kind, examples=list(rows))


def test_every_example_keeps_its_name_its_fields_and_its_answer() -> None:
    found = examples.numbered(
        [
            benchmark("mc", "multiple_choice", CHOICE),
            benchmark("gen", "generation", ANSWER),
            benchmark("held", "text", {"id": "t", "text": "all of it"}),
        ]
    )
    assert found.ids == [("mc", "7"), ("gen", "g"), ("held", "t")]
    assert [tuple(fields) for fields in found.fields] == [
        ("Which river?", "the Elbe", "the Rhine"),
        ("Who wrote it?", "a miller"),
        ("all of it",),
    ]
    assert [fields[answer] for fields, answer in zip(found.fields, found.answers, strict=True)] == [
        "the Rhine",
        "a miller",
        "all of it",
    ]


def test_an_example_of_few_or_common_words_cannot_be_told_from_chance() -> None:
    """Two words are too few; words that stand in every document of the sample are too common."""
    common = "the wheel of the mill goes round and round all day long in the valley"
    made = [
        benchmark("b", "text", *({"id": i, "text": t} for i, t in enumerate([RARE, "two words", common])))
    ]
    numbered, prepared = examples.prepare(made)
    others = [f"chapter {number} of a book that nobody has read" for number in range(2000)]
    indexed = examples.index_examples(DecontaminateConfig(), prepared, [common] * 30 + others)
    assert len(numbered.ids) == 3
    assert indexed.is_checkable.tolist() == [True, False, False]
    assert indexed.is_common.tolist() == [False, False, True]
    assert (indexed.sampled, indexed.common_triples > 0) == (2030, True)
    assert indexed.common[0].documents == 30


def test_the_workers_read_the_index_that_was_saved(tmp_path: Path) -> None:
    numbered, prepared = examples.prepare([benchmark("b", "text", {"id": "x", "text": RARE})])
    indexed = examples.index_examples(DecontaminateConfig(), prepared, [])
    examples.save(numbered, indexed, tmp_path)
    assert json.loads((tmp_path / examples.NAMES_FILE).read_text()) == [["b", "x"]]
    loaded = Index.load(tmp_path / examples.INDEX_FOLDER)
    assert loaded.first_slot.tolist() == indexed.index.first_slot.tolist()


def test_a_benchmark_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    index = {"benchmarks": [{"name": "exam", "type": "text", "file": "exam.jsonl"}]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / "exam.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(ComponentError, match=r"decontaminate: .*exam\.jsonl"):
        examples.read(tmp_path)
