"""A pipeline with a teacher, its stored logits and a student: one order of reading, replayed, traced, reused."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tests.sandbox import Sandbox

TINY = {"layers": 1, "model_size": 16, "heads": 1, "kv_heads": 1, "head_size": 16, "feed_forward_size": 16}
PHASES = [{"until_tokens": 4 * 16 * 12, "sequence_length_tokens": 16, "weights": {"mine": 1}}]
ORDER = {"phases": PHASES, "batch_size": 4, "max_epochs": 100}
TOKENS = {"tokens": "tokenize.tokens", "tokenizer": "vocabulary.tokenizer"}
STAGES: dict[str, Any] = {
    "ingest": {"uses": "ingest", "with": {"sources": {"mine": {"type": "files", "paths": "*.jsonl"}}}},
    "vocabulary": {"uses": "train_tokenizer", "inputs": {"documents": "ingest.documents"}, "with": {"vocab_size": 300}},
    "tokenize": {"uses": "tokenize", "inputs": {"documents": "ingest.documents", "tokenizer": "vocabulary.tokenizer"}},
    "large": {"uses": "pretrain", "inputs": TOKENS, "with": ORDER | {"model": TINY | {"model_size": 32}, "warmup_steps": 2}},
    "logits": {"uses": "teacher_logits", "inputs": TOKENS | {"teacher": "large.model"}, "with": ORDER | {"top_k": 5}},
    "small": {
        "uses": "distill",
        "inputs": TOKENS | {"teacher_logits": "logits.logits"},
        "with": ORDER | {"model": TINY, "digest_every_steps": 5, "warmup_steps": 2},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A project whose pipeline has run."""
    sandbox = Sandbox(tmp_path_factory.mktemp("distilled"), STAGES)
    chance = random.Random(0)
    words = ["the", "of", "and", "to", "in", "that", "with", "have", "be", "for", "data", "model"]
    rows = [json.dumps({"text": " ".join(chance.choices(words, k=60))}) for _ in range(30)]
    (sandbox.folder / "part.jsonl").write_text("\n".join(rows))
    sandbox.run("--until", "large")
    statuses = sandbox.statuses()
    assert [name for name, status in statuses.items() if status == "ran"] == ["logits", "small"]
    return sandbox


def test_teacher_and_student_read_the_same_rows(distilled: Sandbox) -> None:
    """The seed of the order is pretraining's, so a step is the same step in all stages; the first answers by default."""
    of = {
        stage: distilled.json("trace", "step", "7", "pipeline.yaml", "--stage", stage)
        for stage in ("large", "small")
    }
    assert of["small"]["stage"] == "small"
    assert of["small"]["rows"] == of["large"]["rows"] != []
    assert distilled.json("trace", "step", "7", "pipeline.yaml") == of["large"]
    refused = distilled.call("trace", "step", "7", "pipeline.yaml", "--stage", "logits")
    assert refused.returncode == 1
    assert "trains on token streams: large, small" in refused.stderr
    document = distilled.json("trace", "doc", of["small"]["rows"][0]["parts"][0]["document"]["doc_id"])
    assert [reading["stage"] for reading in document["readings"]] == ["large", "small"]
    assert 7 in [step for step, _ in document["readings"][1]["steps"]]


def test_a_distillation_is_replayed_bit_for_bit(distilled: Sandbox) -> None:
    """With its recorded teacher's logits."""
    answer = distilled.json("replay", "small", "pipeline.yaml")
    assert (answer["equal"], answer["first_step"], answer["end_step"]) == (True, 0, 12)


def test_another_student_reuses_what_the_teacher_said(distilled: Sandbox) -> None:
    """A change of the student's reruns the student alone; a change of the order reruns the teacher's pass too."""
    plan = distilled.plan("--set", "stages.small.with.learning_rate=0.01")
    assert {name for name, step in plan.items() if step["action"] == "run"} == {"small"}
    both = [f"stages.{name}.with.batch_size=2" for name in ("logits", "small")]
    plan = distilled.plan(*(word for setting in both for word in ("--set", setting)))
    assert {name for name, step in plan.items() if step["action"] == "run"} == {"logits", "small"}
    refused = distilled.call("run", "pipeline.yaml", "--set", "stages.small.with.batch_size=2")
    assert refused.returncode == 1
    assert "phases[0].batch_size: teacher_logits 4, this training 2" in refused.stdout + refused.stderr
