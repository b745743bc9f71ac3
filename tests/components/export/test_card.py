"""The model card: a header that the Hub can read, and every number where the records have it."""

from __future__ import annotations

import dataclasses
from typing import Any

import huggingface_hub
import pytest

from millrace.components.contract import Upstream
from millrace.components.export.card import CardFacts, render


def stage(component: str, metrics: dict[str, float], **config: Any) -> Upstream:
    """A record of a stage that has its component's name."""
    return Upstream(component, component, config, {"model": component[0] * 64}, metrics)


def entry(score: float, **more: Any) -> dict[str, Any]:
    """A score as the evaluation report holds it."""
    spread = {"score": score, "low": score - 0.1, "high": score + 0.1, "metric": "accuracy_per_byte"}
    return {**spread, "higher_is_better": True, "examples": 200, "contamination": 0.125, **more}


FACTS = CardFacts(
    name="tiny",
    license="apache-2.0",
    languages=("en", "de"),
    intended_use="For tests: yes | no.",
    shape={
        "layers": 2,
        "model_size": 64,
        "heads": 4,
        "kv_heads": 1,
        "head_size": 16,
        "feed_forward_size": 128,
        "max_sequence_tokens": 256,
    },
    parameters=1_234_567,
    tokenizer={"algorithm": "bpe", "vocab_size": 4096, "fertility": {"code": {"bytes_per_token": 3.21}}},
    lineage=(
        stage(
            "ingest",
            {
                "documents_in.code": 100,
                "documents_out.code": 90,
                "bytes_in.code": 5000,
                "bytes_out.code": 4000,
                "documents_in": 100,
                "documents_out": 90,
                "dropped.empty": 10,
            },
            sources={
                "code": {"type": "python_environment", "content": "code"},
                "own": {"type": "files", "paths": ["/home/somebody/secret/*.jsonl"]},
            },
        ),
        stage("decontaminate", {"documents_in": 90, "documents_out": 80, "dropped.ngram": 10}),
        stage(
            "pretrain",
            {"tokens_out": 2_000_000, "loss": 3.5, "bits_per_byte_code": 1.75},
            learning_rate=1e-3,
        ),
        stage("reward", {"accuracy": 0.8, "accuracy_helpfulness": 0.81, "loss": 0.4}, epochs=2.0),
        stage(
            "sft",
            {"loss": 2.0, "held_out_loss": 2.5, "held_out_loss_before": 4.0},
            epochs=1,
            learning_rate=1e-4,
        ),
        stage(
            "rlhf", {"reward_before": 0.1, "reward_after": 0.6, "kl_before": 0.0, "kl_after": 0.25}, steps=30
        ),
    ),
    evaluation={
        "models": {
            "base": {"benchmarks": {"docs": entry(0.25, chance=0.25)}},
            "rlhf": {"benchmarks": {"docs": entry(0.5, chance=0.25)}},
        }
    },
    evaluated_as="rlhf",
    gate={
        "verdict": "open",
        "rules": [
            {"rule": "min_scores", "subject": "docs", "got": "0.5", "wanted": "0.3", "verdict": "pass"}
        ],
    },
    licences={"MIT": 70, "Apache-2.0": 10},
    bytes={"float32": 5_000_000, "int4": 800_000},
    quantisation={"group_size": 32, "embedding_bits": 4},
    loss={"float32": {"all": 1.8, "code": 1.75}, "int4": {"all": 1.82, "code": 1.765}},
)


def test_the_hub_reads_the_header() -> None:
    """Its own reader finds what it asks for, and the shipped model's scores as results of an evaluation."""
    card = huggingface_hub.ModelCard(render(FACTS))
    data: Any = card.data  # the library makes its type at run time
    assert (data.license, data.language) == ("apache-2.0", ["en", "de"])
    assert (data.library_name, data.pipeline_tag) == ("millrace", "text-generation")
    assert data.model_name == "tiny"
    assert [(one.task_type, one.dataset_name, one.metric_value) for one in data.eval_results] == [
        ("text-generation", "docs", 0.5)
    ]
    assert card.text.lstrip().startswith("# tiny\n")


@pytest.mark.parametrize(
    "line",
    [
        "| ingest | code | 100 | 90 | 5,000 | 4,000 |",
        "| decontaminate | all | 90 | 80 | - | - |",
        "- `ingest` dropped by rule: empty 10",
        "| MIT | 70 |",
        "| code | 3.210 |",
        "| pretrain | pretrain | 2,000,000 tokens | 0.001 | 3.5 | bits per byte code 1.75 |",
        "| reward | reward | 2 epochs | - | 0.4 | accuracy 0.8, accuracy helpfulness 0.81 |",
        "| sft | sft | 1 epoch | 0.0001 | 2 | held out loss 2.5 (before 4) |",
        "| reward | 0.1 | 0.6 |",
        "| kl | 0 | 0.25 |",
        "| docs | accuracy per byte | 200 | 25.0% | 12.50% | 0.5000 (0.4000 to 0.6000) | 0.2500 (0.1500 to 0.3500) |",
        "| benchmark | metric | examples | chance | contamination | rlhf (this model) | base |",
        "Gate: **open**",
        "| int4 | 800,000 | 1.8200 | 1.7650 |",
        "| difference | -4,200,000 | +0.0200 | +0.0150 |",
        f"| pretrain | pretrain | model | `{'p' * 64}` |",
    ],
)
def test_every_figure_is_in_its_table(line: str) -> None:
    """Counts before and after, losses, rewards, scores with contamination, quantisation, digests."""
    assert line in render(FACTS).splitlines()


def test_nobodys_paths_are_published() -> None:
    """A user's source is named by its pattern, not by where it lies."""
    card = render(FACTS)
    assert "`own`: files: *.jsonl" in card
    assert "/home" not in card


def test_every_table_has_as_many_cells_as_its_head() -> None:
    """Pipes in values are escaped, so no table breaks."""
    facts = dataclasses.replace(FACTS, licences={"MIT | GPL\nor later": 1}, evaluated_as=None)
    width = 0
    for line in render(facts).splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line
        width = cells


def test_a_pipeline_of_a_given_model_has_a_card_too() -> None:
    """Sections without a record say so."""
    bare = dataclasses.replace(FACTS, lineage=(), evaluation=None, gate=None, licences=None, loss=None)
    card = render(bare)
    for words in ("no data stage", "no training stage", "Not evaluated", "Not counted", "was not measured"):
        assert words in card
    assert "not searched for benchmark examples" in card
