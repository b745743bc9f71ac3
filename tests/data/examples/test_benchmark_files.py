"""Reading and choosing benchmark examples."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.examples import benchmark_files

CHOICE = {"id": "a", "prompt": "p", "choices": ["x", "y"], "answer": 1}


def write(folder: Path, kind: str, rows: list) -> Path:
    """A benchmarks artifact with one benchmark."""
    index = {"benchmarks": [{"name": "b", "type": kind, "examples": len(rows), "file": "b.jsonl"}]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    """Also those with line separators inside a text, which are no line ends of the file."""
    rows = [CHOICE, {**CHOICE, "id": "b", "prompt": "one\u2028two\x0cthree", "extra": 1}]
    (benchmark,) = benchmark_files.read(write(tmp_path, "multiple_choice", rows))
    assert (benchmark.name, list(benchmark.examples)) == ("b", rows)


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("riddle", CHOICE, "'riddle', expected one of"),
        ("generation", {"id": "a", "prompt": "p"}, "b.jsonl:1: got no text under answer"),
        ("multiple_choice", {**CHOICE, "answer": 2}, "b.jsonl:1: got the answer 2"),
        ("multiple_choice", {**CHOICE, "answer": True}, "got the answer True"),
        ("multiple_choice", {**CHOICE, "choices": ["x"]}, "two or more"),
        ("text", [1], "got a list"),
    ],
)
def test_bad_examples_are_named(tmp_path: Path, kind: str, row: object, message: str) -> None:
    """An example that cannot be scored raises with its file and line."""
    with pytest.raises(ValueError, match=message):
        benchmark_files.read(write(tmp_path, kind, [row]))


@given(st.integers(0, 60), st.integers(1, 30), st.integers(0, 2**31 - 1))
def test_the_choice_is_of_ids_not_positions(count: int, limit: int, seed: int) -> None:
    """Shuffling the file chooses the same examples, and a larger limit only adds to them."""
    examples = [{"id": f"e{index}"} for index in range(count)]
    chosen = {row["id"] for row in benchmark_files.choose(examples, limit, seed)}
    assert len(chosen) == min(limit, count)
    shuffled = random.Random(seed).sample(examples, count)
    assert {row["id"] for row in benchmark_files.choose(shuffled, limit, seed)} == chosen
    assert chosen <= {row["id"] for row in benchmark_files.choose(examples, limit + 3, seed)}
