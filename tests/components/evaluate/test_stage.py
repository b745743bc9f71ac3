"""The evaluate stage: scores that can be counted by hand, examples that do not depend on the model, clear refusals."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.components.evaluate.examples import ANSWERS, CHOICES, TEXTS

from millrace.components.contract import ComponentError
from millrace.model.package import weights


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    """One benchmark of each type."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    sets: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "mc": ("multiple_choice", CHOICES),
        "gen": ("generation", ANSWERS),
        "held": ("text", TEXTS),
    }
    index = []
    for name, (kind, rows) in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        index.append({"name": name, "type": kind, "examples": len(rows), "file": f"{name}.jsonl"})
    (folder / "index.json").write_text(json.dumps({"benchmarks": index}))
    return folder


def inputs_of(tiny: SimpleNamespace, benchmarks: Path, **other: Path) -> dict:
    """Two labels of one model."""
    models = {"base": tiny.model, "sft": tiny.model}
    return {"models": models, "tokenizer": tiny.tokenizer, "benchmarks": benchmarks, **other}


def test_a_report_has_every_score_with_its_interval_and_contamination(
    tiny: SimpleNamespace, benchmarks: Path, run_component: Any, tmp_path: Path
) -> None:
    """All models and benchmarks are there; an untrained model scores chance and ln V; two runs agree byte for byte."""
    found = {"benchmarks": {"mc": {"examples": 30, "contaminated": 3, "share": 0.1, "remaining_share": 0.0}}}
    (tmp_path / "contamination").mkdir()
    (tmp_path / "contamination" / "report.json").write_text(json.dumps(found))
    inputs = inputs_of(tiny, benchmarks, contamination=tmp_path / "contamination")
    config = {"chat_models": ["sft"], "max_examples": 20, "max_new_tokens": 4}
    done = run_component("evaluate", config, inputs)
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    assert [report["models"][label]["prompts"] for label in ("base", "sft")] == ["plain", "chat"]
    for label in ("base", "sft"):
        for entry in report["models"][label]["benchmarks"].values():
            assert entry["low"] <= entry["score"] <= entry["high"]
    entries = report["models"]["base"]["benchmarks"]
    assert {name: entry["contamination"] for name, entry in entries.items()} == {
        "mc": 0.1,
        "gen": None,
        "held": None,
    }
    assert (entries["mc"]["chance"], entries["mc"]["examples"]) == (pytest.approx(1 / 3), 20)
    assert set(entries["held"]["sources"]) == {"code", "docs"}
    table = (done.outputs["report"] / "report.md").read_text()
    assert "| mc | accuracy_per_byte | 20 | 33.3% | 10.0% → 0.0% |" in table
    again = run_component("evaluate", config, inputs)
    for name in ("report.json", "report.md"):
        assert (again.outputs["report"] / name).read_bytes() == (done.outputs["report"] / name).read_bytes()
    assert done.metrics["accuracy"] == report["models"]["sft"]["benchmarks"]["mc"]["score"]


def test_text_is_cut_and_sampled_as_configured(
    tiny: SimpleNamespace, benchmarks: Path, run_component: Any
) -> None:
    """Limits bound the bytes of each document's beginning, and the documents of each source."""
    inputs = inputs_of(tiny, benchmarks) | {"models": {"base": tiny.model}}

    def held(**config: int) -> dict[str, Any]:
        done = run_component("evaluate", {"benchmarks": ["held"], **config}, inputs)
        report = json.loads((done.outputs["report"] / "report.json").read_text())
        entry: dict[str, Any] = report["models"]["base"]["benchmarks"]["held"]
        return entry

    assert held(max_document_bytes=64)["bytes"] == sum(min(len(row["text"]), 64) for row in TEXTS)
    sampled = held(max_documents=3)["sources"]
    assert {source: figures["examples"] for source, figures in sampled.items()} == {"code": 3, "docs": 3}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"chat_models": ["rlfh"]}, "chat_models names rlfh, but the models are base, sft"),
        ({"benchmarks": ["mcq"]}, "benchmarks names mcq, but there are mc, gen, held"),
        ({"max_new_tokens": 40}, "expected less than half"),
    ],
)
def test_settings_that_cannot_work_are_named(
    tiny: SimpleNamespace, benchmarks: Path, run_component: Any, config: dict, message: str
) -> None:
    """Each mistake ends in a message that says what there is."""
    with pytest.raises(ComponentError, match=message):
        run_component("evaluate", {**config}, inputs_of(tiny, benchmarks))


def test_an_empty_benchmark_is_an_error(tiny: SimpleNamespace, benchmarks: Path, run_component: Any) -> None:
    """A benchmark without examples has no score, and the message names it."""
    (benchmarks / "gen.jsonl").write_text("")
    with pytest.raises(ComponentError, match="benchmark gen has no examples"):
        run_component("evaluate", {}, inputs_of(tiny, benchmarks))


def test_a_broken_model_is_an_error(
    tiny: SimpleNamespace, benchmarks: Path, run_component: Any, tmp_path: Path
) -> None:
    """Weights that are not numbers give no score, and the message names the model."""
    config, decoder = weights.load(tiny.model)
    decoder.embedding[...] = decoder.embedding[...] * np.float32(np.nan)
    (tmp_path / "broken").mkdir()
    weights.save(tmp_path / "broken", config, decoder)
    inputs = {**inputs_of(tiny, benchmarks), "models": {"sft": tmp_path / "broken"}}
    with pytest.raises(ComponentError, match="model sft gives held the score nan"):
        run_component("evaluate", {"benchmarks": ["held"]}, inputs)
