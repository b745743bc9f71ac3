"""``kill -9`` of the whole process tree, at random moments: the next run finishes with the bytes of an undisturbed one.

Every run is a process group of its own, whose tree is killed by process id. Moments are drawn from a fixed seed, one
from each of twenty equal parts of an undisturbed run's time, so that all of it is covered.

    pytest tests/test_kill.py                                     toy stages, every moment on a store of its own
    MILLRACE_SPEC=my.yaml pytest -m slow tests/test_kill.py  any pipeline, all moments along one run
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import SPECS, Sandbox, kill_tree

from millrace.pipelines.store import maintenance
from millrace.pipelines.store.store import Store

MOMENTS = 20
SEED = 20
TOYS: dict[str, Any] = {
    "read": {"uses": "toy_source", "with": {"parts": 40}},
    "clean": {"uses": "toy_step", "inputs": {"documents": "read.documents"}, "with": {"seconds": 0.2, "checkpoints": 8}},
}  # fmt: skip
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "with",
    "have",
    "be",
    "for",
    "data",
    "model",
    "file",
    "value",
    "list",
    "name",
    "type",
    "code",
    "test",
    "line",
]


def moments(duration_seconds: float, count: int = MOMENTS) -> list[float]:
    """One random moment in each of ``count`` equal parts of a run's time, in order, in seconds from its start."""
    chance = random.Random(SEED)
    return [duration_seconds * (part + chance.random()) / count for part in range(count)]


def digests(run: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {name: stage["outputs"] for name, stage in run["stages"].items()}


def killed(sandbox: Sandbox, arguments: Sequence[str], after_seconds: float) -> bool:
    """Starts a run and kills its tree; returns False when it was over before that."""
    with sandbox.started("run", *arguments) as process:
        try:
            process.communicate(timeout=after_seconds)
        except subprocess.TimeoutExpired:
            kill_tree(process.pid)
            process.wait()
            return True
    assert process.returncode == 0
    return False


def undisturbed(sandbox: Sandbox, arguments: Sequence[str]) -> tuple[dict[str, dict[str, str]], float]:
    """Digests of every output, and the seconds that a run takes as a process."""
    started = time.monotonic()
    run = sandbox.run(*arguments, "--store", str(sandbox.folder / "undisturbed"))
    return digests(run), time.monotonic() - started


def finishes_with(
    sandbox: Sandbox, arguments: Sequence[str], store: Path, expected: dict[str, dict[str, str]]
) -> None:
    """The next run finishes, its outputs are the expected ones, and the store is sound."""
    assert maintenance.verify(Store(str(store))) == []
    assert digests(sandbox.run(*arguments, "--store", str(store))) == expected
    assert maintenance.verify(Store(str(store))) == []
    assert not list((store / "work").iterdir())


def test_after_a_kill_at_any_of_twenty_moments_the_next_run_finishes_with_the_same_bytes(
    sandbox: Sandbox,
) -> None:
    sandbox.write(TOYS)
    expected, seconds = undisturbed(sandbox, ())
    kills = 0
    for number, moment in enumerate(moments(seconds)):
        store = sandbox.folder / f"store-{number}"
        kills += killed(sandbox, ("--store", str(store)), moment)
        if number % 5 == 4:  # now and then the next run is killed as well
            killed(sandbox, ("--store", str(store)), moment / 2)
        (store / "work").mkdir(parents=True, exist_ok=True)
        finishes_with(sandbox, (), store, expected)
    assert kills >= MOMENTS // 2


def along_one_run(sandbox: Sandbox, arguments: Sequence[str]) -> None:
    """Kills at twenty moments of the whole course of one pipeline: each run gets as far as its share, then dies."""
    expected, seconds = undisturbed(sandbox, arguments)
    store = sandbox.folder / "store"
    start, kills = 0.0, 0
    for moment in moments(seconds):
        kills += killed(sandbox, (*arguments, "--store", str(store)), 1.0 + moment - start)
        start = moment
        assert maintenance.verify(Store(str(store))) == []
    finishes_with(sandbox, arguments, store, expected)
    assert kills >= MOMENTS // 2


def corpus(folder: Path, documents: int = 3000) -> None:
    """Documents of random words in three files, some of them twice."""
    chance = random.Random(SEED)
    rows = [" ".join(chance.choices(WORDS, k=chance.randrange(60, 200))) for _ in range(documents)]
    rows += [row + " again" for row in rows[:: documents // 20]]
    for part in range(3):
        lines = (json.dumps({"text": row}) for row in rows[part::3])
        (folder / f"part-{part}.jsonl").write_text("\n".join(lines))


@pytest.mark.slow
def test_data_stages_killed_at_twenty_moments_give_the_bytes_of_an_undisturbed_run(sandbox: Sandbox) -> None:
    corpus(sandbox.folder)
    rules = [{"rule": "gopher_quality", "min_stop_words": 1}]
    ingested, kept = {"documents": "ingest.documents"}, {"documents": "dedup.documents"}
    sandbox.write(
        {
            "ingest": {
                "uses": "ingest",
                "with": {"sources": {"mine": {"type": "files", "paths": "*.jsonl"}}},
            },
            "filter": {"uses": "filter", "inputs": ingested, "with": {"rules": {"mine": rules}}},
            "dedup": {"uses": "dedup", "inputs": {"documents": "filter.documents"}},
            "vocabulary": {"uses": "train_tokenizer", "inputs": kept, "with": {"vocab_size": 400}},
            "tokenize": {"uses": "tokenize", "inputs": {**kept, "tokenizer": "vocabulary.tokenizer"}},
        }
    )
    along_one_run(sandbox, ())


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.name)
def test_a_whole_pipeline_killed_at_twenty_moments_gives_the_bytes_of_an_undisturbed_run(
    sandbox: Sandbox, spec: Path
) -> None:
    along_one_run(sandbox, (str(spec.absolute()),))
