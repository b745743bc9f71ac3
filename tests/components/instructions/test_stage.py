"""The instructions stage: from documents, from a user's files, and from neither."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from millrace.components.contract import ComponentError

CHATS = [
    {"messages": [{"role": "user", "content": f"Hello {i}"}, {"role": "assistant", "content": "Hi."}]}
    for i in range(40)
]
PREFERENCES = [
    {"prompt": f"Hello {i}", "chosen": "Hi.", "rejected": "No.", "head": "safety"} for i in range(40)
]
PROSE = "The {0} of the mill were old, and the miller had to look after them every single day.\n\n"


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        side: [json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines()]
        for side in ("train", "held_out")
    }


@pytest.fixture
def code(run_component: Any) -> Path:
    source = {"type": "python_environment", "content": "code", "include": ["click", "packaging", "requests"]}
    folder: Path = run_component("ingest", {"sources": {"code": source}}).outputs["documents"]
    return folder


def test_code_gives_chats_and_preferences_within_the_caps(run_component: Any, code: Path) -> None:
    result = run_component("instructions", {"max_examples": 60, "max_preferences": 40}, {"documents": code})
    chats, preferences = read(result.outputs["chats"]), read(result.outputs["preferences"])
    assert sum(map(len, chats.values())) == 60
    assert sum(map(len, preferences.values())) == 40
    assert {row["head"] for row in preferences["train"]} == {"relevance", "completeness"}
    assert not {row["doc_id"] for row in chats["train"]} & {row["doc_id"] for row in chats["held_out"]}
    assert result.metrics["chats.train"] == len(chats["train"])


def test_one_document_gives_no_more_than_its_share(run_component: Any, code: Path) -> None:
    """The most pairs that a document has of a task is what the configuration says."""
    for most in (1, 3):
        config = {"tasks": ["docstring"], "max_per_document": most}
        chats = read(run_component("instructions", config, {"documents": code}).outputs["chats"])
        counts = Counter(row["doc_id"] for side in chats.values() for row in side)
        assert max(counts.values()) == most


def test_a_second_run_gives_the_same_bytes(run_component: Any, code: Path) -> None:
    one, two = (
        run_component("instructions", {"max_examples": 50}, {"documents": code}).outputs for _ in range(2)
    )
    for port in one:
        for side in ("train", "held_out"):
            assert (one[port] / f"{side}.jsonl").read_bytes() == (two[port] / f"{side}.jsonl").read_bytes()


def test_a_corpus_of_prose_alone_gives_pairs_and_benchmarks(run_component: Any, tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(40):
        parts = ("stones", "wheels", "gates", "sacks")
        (folder / f"{number}.txt").write_text("".join(PROSE.format(f"{part} {number}") for part in parts))
    source = {"type": "files", "paths": str(folder / "*.txt"), "held_out_fraction": 0.3}
    ingested = run_component("ingest", {"sources": {"books": source}}).outputs
    made = run_component("instructions", {}, {"documents": ingested["documents"]})
    assert {row["task"] for row in read(made.outputs["chats"])["train"]} == {"continuation"}
    sets = run_component("benchmarks", {}, {"held_out": ingested["held_out"]})
    assert {"examples.continuations", "examples.held_out_books"} <= set(sets.metrics)
    assert "examples.docstrings" not in sets.metrics


def test_a_users_files_are_split_and_keep_their_heads(run_component: Any, tmp_path: Path) -> None:
    config = {
        "chats": {"mine": write(tmp_path / "chats.jsonl", CHATS)},
        "preferences": {"mine": write(tmp_path / "preferences.jsonl", PREFERENCES)},
        "held_out_fraction": 0.3,
    }
    result = run_component("instructions", config)
    chats, preferences = read(result.outputs["chats"]), read(result.outputs["preferences"])
    assert sum(map(len, chats.values())) == sum(map(len, preferences.values())) == 40
    assert all(rows for rows in (*chats.values(), *preferences.values()))
    assert preferences["train"][0]["head"] == "safety"
    assert chats["train"][0]["source"] == "mine"


def test_two_answers_to_one_prompt_are_on_one_side(run_component: Any, tmp_path: Path) -> None:
    others = [row | {"chosen": "Good day."} for row in PREFERENCES]
    config = {
        "chats": {"mine": write(tmp_path / "c.jsonl", CHATS)},
        "preferences": {"mine": write(tmp_path / "p.jsonl", PREFERENCES + others)},
        "held_out_fraction": 0.5,
    }
    sides = read(run_component("instructions", config).outputs["preferences"])
    assert not {row["prompt"] for row in sides["train"]} & {row["prompt"] for row in sides["held_out"]}


def test_nothing_to_make_pairs_from_and_bad_lines_fail_with_what_to_give(
    run_component: Any, tmp_path: Path
) -> None:
    with pytest.raises(ComponentError, match="got no chats for train"):
        run_component("instructions")
    path = write(tmp_path / "c.jsonl", [*CHATS, {"messages": []}])
    with pytest.raises(ComponentError, match=r"mine: .*c\.jsonl:41: got no messages"):
        run_component("instructions", {"chats": {"mine": path}})


def test_a_source_that_does_not_come_in_is_named(run_component: Any, code: Path) -> None:
    with pytest.raises(ComponentError, match="got sources cod, expected those that come in: code"):
        run_component("instructions", {"sources": ["cod"]}, {"documents": code})
