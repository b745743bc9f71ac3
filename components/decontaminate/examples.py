"""Turns benchmarks into an index: every example as its fields, numbered through all benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from millrace.components.contract import ComponentError
from millrace.data.contamination import chains, index
from millrace.data.contamination.chains import Rule
from millrace.data.contamination.index import Common, Index, Prepared
from millrace.data.examples import benchmark_files
from millrace.data.examples.benchmark_files import Benchmark
from millrace.data.text.batch import from_texts

from .config import DecontaminateConfig

INDEX_FOLDER, NAMES_FILE = "index", "names.json"


class Numbered(NamedTuple):
    """All examples of all benchmarks, in their order.

    Attributes:
        ids: Benchmark and id of each.
        fields: Of each the question and its choices or its answer, or a held-out text alone.
        answers: Number of the field that is the right answer, 0 for none.
    """

    ids: list[tuple[str, str]]
    fields: list[Sequence[str]]
    answers: list[int]


@dataclass(frozen=True)
class Indexed:
    """The indexed examples.

    Attributes:
        index: The index that documents are searched with.
        common: The most common triples of words that it leaves out.
        common_triples: How many it leaves out.
        is_checkable: Whether an example would be found if it stood in a document, bool [examples].
        is_common: Whether it would be, were its words not in so many documents, bool [examples].
        sampled: Documents that said what is common.
    """

    index: Index
    common: list[Common]
    common_triples: int
    is_checkable: np.ndarray
    is_common: np.ndarray
    sampled: int


def numbered(benchmarks: Sequence[Benchmark]) -> Numbered:
    """The examples of all benchmarks."""
    found = Numbered([], [], [])
    for benchmark in benchmarks:
        for example in benchmark.examples:
            fields, answer = _fields(benchmark.type, example)
            found.ids.append((benchmark.name, str(example["id"])))
            found.fields.append(fields)
            found.answers.append(answer)
    return found


def _fields(kind: str, example: Mapping[str, Any]) -> tuple[Sequence[str], int]:
    if kind == "text":
        return (example["text"],), 0
    if kind == "generation":
        return (example["prompt"], example["answer"]), 1
    return (example["prompt"], *example["choices"]), int(example["answer"]) + 1


def rule_of(config: DecontaminateConfig) -> Rule:
    """The limits above which a repetition counts as contamination."""
    return Rule(config.min_coverage, config.min_score)


def read(folder: Path) -> list[Benchmark]:
    """The benchmarks.

    Raises:
        ComponentError: An example lacks a field that its type needs.
    """
    try:
        return benchmark_files.read(folder)
    except ValueError as error:
        raise ComponentError(f"decontaminate: {error}") from None


def prepare(benchmarks: Sequence[Benchmark]) -> tuple[Numbered, Prepared]:
    """The part that needs no sample: the examples, and most of indexing."""
    examples = numbered(benchmarks)
    made = index.Examples.of(list(zip(examples.fields, examples.answers, strict=True)))
    return examples, index.prepare(made)


def index_examples(config: DecontaminateConfig, prepared: Prepared, sample: Sequence[str]) -> Indexed:
    """Indexes the examples; what was prepared is used up."""
    made = index.build(prepared, from_texts(sample), config.max_document_frequency)
    is_checkable = chains.checkable(made.index, rule_of(config))
    is_long = np.diff(made.index.first_slot) >= chains.START_WORDS
    is_common = ~is_checkable & is_long & (made.whole_bits >= config.min_score)
    return Indexed(made.index, made.common, made.common_triples, is_checkable, is_common, len(sample))


def save(examples: Numbered, indexed: Indexed, work: Path) -> None:
    """Writes the index where the workers find it."""
    (work / NAMES_FILE).write_text(json.dumps(examples.ids))
    indexed.index.save(work / INDEX_FOLDER)
