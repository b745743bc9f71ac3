"""The benchmarks stage: its files, a user's questions, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.components.contract import ComponentError
from millrace.data.examples import benchmark_files

QUESTIONS = [
    {"id": i, "prompt": f"{i} + 1 =", "choices": [str(i), str(i + 1)], "answer": 1} for i in range(3)
]


@pytest.fixture
def held_out(run_component: Any) -> Path:
    source = {"type": "python_environment", "content": "code", "include": ["six"], "held_out": ["packaging"]}
    folder: Path = run_component("ingest", {"sources": {"code": source}}).outputs["held_out"]
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_sets_from_held_out_documents_and_files_can_be_read_back(
    run_component: Any, held_out: Path, tmp_path: Path
) -> None:
    config = {"files": {"sums": write(tmp_path / "sums.jsonl", QUESTIONS)}, "max_docstrings": 20}
    result = run_component("benchmarks", config, {"held_out": held_out})
    found = {one.name: one for one in benchmark_files.read(result.outputs["benchmarks"])}
    assert list(found) == ["docstrings", "returns", "held_out_code", "sums"]
    assert len(found["docstrings"].examples) == 20
    assert found["sums"].type == "multiple_choice"
    assert result.metrics["examples.sums"] == 3
    assert result.metrics["examples"] == sum(len(one.examples) for one in found.values())


def test_sets_are_as_large_as_asked(run_component: Any, held_out: Path) -> None:
    """Nothing of a set leaves it out; the other limits bound the number of examples, and the bytes of held-out texts."""
    config = {"max_docstrings": 0, "max_returns": 2, "max_texts": 1, "max_text_bytes": 100}
    result = run_component("benchmarks", config, {"held_out": held_out})
    found = {one.name: one.examples for one in benchmark_files.read(result.outputs["benchmarks"])}
    assert {name: len(examples) for name, examples in found.items()} == {"returns": 2, "held_out_code": 1}
    assert 90 < len(found["held_out_code"][0]["text"].encode()) <= 100


def test_a_second_run_gives_the_same_bytes(run_component: Any, held_out: Path) -> None:
    one, two = (
        run_component("benchmarks", {}, {"held_out": held_out}).outputs["benchmarks"] for _ in range(2)
    )
    names = sorted(path.name for path in one.iterdir())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_a_users_questions_alone_are_enough_and_nothing_at_all_is_not(
    run_component: Any, tmp_path: Path
) -> None:
    result = run_component("benchmarks", {"files": {"sums": write(tmp_path / "sums.jsonl", QUESTIONS)}})
    assert result.metrics["examples"] == 3
    with pytest.raises(
        ComponentError, match="got no held-out documents to build benchmarks from and no files"
    ):
        run_component("benchmarks")


def test_a_bad_line_and_a_name_that_is_taken_are_named(
    run_component: Any, held_out: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "sums.jsonl", [*QUESTIONS, {"id": 9}])
    with pytest.raises(ComponentError, match=r"benchmark sums: .*sums\.jsonl:4: got no text under prompt"):
        run_component("benchmarks", {"files": {"sums": path}})
    path = write(tmp_path / "sums.jsonl", QUESTIONS)
    with pytest.raises(ComponentError, match="got benchmark 'docstrings' in files"):
        run_component("benchmarks", {"files": {"docstrings": path}}, {"held_out": held_out})
