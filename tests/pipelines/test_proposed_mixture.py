"""Weights from an ablation to a pretraining, through the command line: run, reused, traced, replayed and checked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox import Sandbox
from typer.testing import CliRunner

from millrace.pipelines.cli import app
from millrace.pipelines.store.store import Store

SHAPE = {"layers": 1, "model_size": 32, "heads": 1, "kv_heads": 1, "head_size": 32, "feed_forward_size": 32}
TRAINING = {"model": SHAPE, "max_epochs": 50, "warmup_steps": 2, "learning_rate": 0.02}
PHASE = {"until_tokens": 8 * 32 * 10, "sequence_length_tokens": 32, "weights": "proposed"}
TRAINS_ON = {"tokens": "tokenize.tokens", "tokenizer": "vocabulary.tokenizer"}
STAGES: dict[str, Any] = {
    "ingest": {
        "uses": "ingest",
        "with": {
            "sources": {
                "useful": {"type": "files", "paths": "useful.jsonl"},
                "noise": {"type": "files", "paths": "noise.jsonl"},
            }
        },
    },
    "aside": {"uses": "ingest", "with": {"sources": {"useful": {"type": "files", "paths": "aside.jsonl"}}}},
    "held_out": {"uses": "benchmarks", "inputs": {"held_out": "aside.documents"}},
    "vocabulary": {
        "uses": "train_tokenizer",
        "inputs": {"documents": "ingest.documents"},
        "with": {"vocab_size": 320},
    },
    "tokenize": {
        "uses": "tokenize",
        "inputs": {"documents": "ingest.documents", "tokenizer": "vocabulary.tokenizer"},
    },
    "ablate": {
        "uses": "ablate_mixture",
        "inputs": TRAINS_ON | {"benchmarks": "held_out.benchmarks"},
        "with": TRAINING
        | {
            "tokens": 8 * 32 * 10,
            "sequence_length_tokens": 32,
            "candidates": [{"useful": 1, "noise": 9}, {"useful": 1, "noise": 1}, {"useful": 5, "noise": 1}],
            "samples": 2,
        },
    },
    "pretrain": {
        "uses": "pretrain",
        "inputs": TRAINS_ON | {"mixture": "ablate.mixture"},
        "with": TRAINING | {"phases": [PHASE], "digest_every_steps": 5},
    },
}


def write(folder: Path, name: str, seed: int, letters: bool, documents: int) -> None:
    """Documents of frequent words, or of letters without order."""
    chance = random.Random(seed)
    words = ["the", "of", "and", "to", "in", "that", "with", "have", "be", "for", "data", "model"]
    texts = (
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=300))
        if letters
        else " ".join(chance.choices(words, k=70))
        for _ in range(documents)
    )
    (folder / name).write_text("\n".join(json.dumps({"text": text}) for text in texts))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sandbox, dict[str, Any]]:
    """A project whose pipeline has run, and what the run reported of its stages."""
    sandbox = Sandbox(tmp_path_factory.mktemp("mixture"), STAGES)
    write(sandbox.folder, "useful.jsonl", 0, False, 40)
    write(sandbox.folder, "noise.jsonl", 1, True, 40)
    write(sandbox.folder, "aside.jsonl", 2, False, 4)
    return sandbox, sandbox.run()["stages"]


def proposed(sandbox: Sandbox, stages: dict[str, Any]) -> dict[str, Any]:
    folder = Store(str(sandbox.store)).folder(stages["ablate"]["outputs"]["mixture"])
    weights: dict[str, Any] = json.loads((folder / "weights.json").read_text())
    return weights


def told(sandbox: Sandbox, *words: str) -> Any:
    """Runs a command in this process and returns its output."""
    result = CliRunner().invoke(app, [*words, str(sandbox.folder / "pipeline.yaml"), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_source_that_helps_gets_more_than_its_share(project: tuple[Sandbox, dict[str, Any]]) -> None:
    found = proposed(*project)
    assert found["weights"]["useful"] > found["prior"]["weights"]["useful"] + 0.2
    assert found["verified"]["objective"] < found["prior"]["objective"]


def test_what_is_reused_follows_the_weights(project: tuple[Sandbox, dict[str, Any]]) -> None:
    """Another number of steps of pretraining asks for no ablation; another objective does."""
    sandbox, _ = project
    assert {step["action"] for step in sandbox.plan().values()} == {"reuse"}
    later = sandbox.plan("--set", "stages.pretrain.with.learning_rate=0.01")
    assert (later["ablate"]["action"], later["pretrain"]["action"]) == ("reuse", "run")
    other = sandbox.plan("--set", "stages.ablate.with.verify=2")
    assert (other["ablate"]["action"], other["pretrain"]["action"]) == ("run", "run")


def test_steps_trace_to_the_sources_in_the_proposed_shares(project: tuple[Sandbox, dict[str, Any]]) -> None:
    sandbox, stages = project
    rows = [row["source"] for step in range(10) for row in told(sandbox, "trace", "step", str(step))["rows"]]
    assert rows.count("useful") == pytest.approx(80 * proposed(sandbox, stages)["weights"]["useful"], abs=2)


def test_a_training_on_proposed_weights_is_replayed_to_the_same_bits(
    project: tuple[Sandbox, dict[str, Any]],
) -> None:
    answer = told(project[0], "replay", "pretrain")
    assert (answer["equal"], answer["first_step"], answer["end_step"]) == (True, 0, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": TRAINS_ON}, "stages.pretrain: got weights: proposed in phase 0 and no input mixture, expected"),
        ({"with": {"phases": [PHASE | {"weights": {"useful": 1}}]}}, "stages.pretrain: got an input mixture and numbers"),
        ({"with": {"phases": [PHASE | {"weights": "propsed"}]}}, "got 'propsed', expected a valid dictionary or 'proposed'"),
    ],
)  # fmt: skip
def test_phases_and_the_mixture_are_checked_before_anything_runs(
    project: tuple[Sandbox, dict[str, Any]], change: dict[str, Any], message: str
) -> None:
    stages = STAGES | {"pretrain": STAGES["pretrain"] | change}
    (project[0].folder / "wrong.yaml").write_text(json.dumps({"name": "wrong", "stages": stages}, indent=1))
    done = project[0].call("check", "wrong.yaml")
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
