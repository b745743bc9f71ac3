"""Exporting: the package loads, says what it cost, is made of the same bytes twice, and needs an open gate."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from flax import nnx

from millrace.components.contract import ComponentError, Upstream
from millrace.components.export import stage as export
from millrace.data.documents import shards
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.package import package as packages
from millrace.model.package import weights
from millrace.model.package.package import Package, quantise_tensors

TEXT = Path(tokenizers.__file__).read_text()
LINEAGE = (
    Upstream(
        "ingest",
        "ingest",
        {"sources": {"code": {"type": "python_environment", "content": "code"}}},
        {"documents": "a" * 64},
        {"documents_in": 10, "documents_out": 9, "documents_in.code": 10, "documents_out.code": 9},
    ),
    Upstream(
        "pretrain",
        "pretrain",
        {"learning_rate": 0.003},
        {"model": "b" * 64},
        {"tokens_out": 5000, "loss": 4.5},
    ),
)
SHAPE = ModelConfig(
    vocab_size=1,
    layers=1,
    model_size=32,
    heads=2,
    kv_heads=1,
    head_size=16,
    feed_forward_size=64,
    max_sequence_tokens=64,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything that export can take; the model has random weights."""
    base = tmp_path_factory.mktemp("inputs")
    ports = ("model", "tokenizer", "evaluation", "gate", "benchmarks", "documents")
    folders = {port: base / port for port in ports}
    for folder in folders.values():
        folder.mkdir()
    special = tokenizers.CHAT_TOKENS
    proto = tokenizer_training.train(
        [TEXT], vocab_size=420, algorithm="bpe", special=special, character_coverage=0.9995
    )
    tokenizer = tokenizers.write(folders["tokenizer"], proto, special, {"algorithm": "bpe"})
    shape = dataclasses.replace(SHAPE, vocab_size=tokenizer.vocab_size)
    weights.save(folders["model"], shape, Decoder(shape, rngs=nnx.Rngs(0)))
    entry = {"score": 0.5, "low": 0.4, "high": 0.6, "metric": "exact_match", "higher_is_better": True}
    entry |= {"type": "generation", "examples": 40, "contamination": 0.025}
    write(folders["evaluation"], "report.json", {"models": {"model": {"benchmarks": {"docs": entry}}}})
    rule = {"rule": "min_scores", "subject": "docs", "got": "0.5", "wanted": "0.4", "verdict": "pass"}
    write(folders["gate"], "report.json", {"verdict": "open", "rules": [rule]})
    held_out = {"name": "held", "type": "text", "examples": 1, "file": "held.jsonl"}
    write(folders["benchmarks"], "index.json", {"benchmarks": [held_out]})
    write(folders["benchmarks"], "held.jsonl", {"id": "1", "text": TEXT[:3000], "source": "code"})
    rows = [
        {
            "doc_id": str(n),
            "text": "x",
            "source": "code",
            "lang": "en",
            "uri": "u",
            "locator": "",
            "metadata": text,
        }
        for n, text in enumerate(['{"license": "MIT\\nlong text"}', '{"license": "MIT"}', "{}", ""])
    ]
    shards.write_shard(folders["documents"] / "part-00000.parquet", shards.documents_table(rows))
    return folders


def write(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value))


def test_a_full_export_is_a_package_that_loads(run_component: Any, inputs: dict[str, Path]) -> None:
    """Both forms of the weights, the tokenizer, scores, sizes, licences and the measured loss."""
    result = run_component("export", {"name": "tiny"}, inputs, lineage=LINEAGE)
    package = Package.open(result.outputs["package"])
    wanted = weights.tensors(weights.load(inputs["model"])[1])
    for name, tensor in weights.tensors(package.decoder("float32")).items():
        np.testing.assert_array_equal(tensor, wanted[name])
    assert package.decoder("int4").config == package.config
    assert tokenizers.Tokenizer.load(package.folder).encode("def") == (
        tokenizers.Tokenizer.load(inputs["tokenizer"]).encode("def")
    )
    assert sorted(package.manifest["files"]) == [
        "MODEL_CARD.md",
        "config.json",
        "evaluation.json",
        "model-int4.safetensors",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
    ]
    losses = package.manifest["bits_per_byte"]
    assert losses["float32"].keys() == losses["int4"].keys() == {"all", "code"}
    assert result.metrics["bits_per_byte_increase"] == pytest.approx(
        losses["int4"]["all"] - losses["float32"]["all"]
    )
    assert result.metrics["bytes_int4"] < result.metrics["bytes_float32"] / 4
    card = (package.folder / "MODEL_CARD.md").read_text()
    assert "| MIT | 2 |" in card
    assert "| not stated | 2 |" in card


def test_the_same_inputs_give_the_same_bytes(run_component: Any, inputs: dict[str, Path]) -> None:
    """Every file, the card included, and none of them knows where it was made."""
    first, second = (
        run_component("export", {}, inputs, lineage=LINEAGE).outputs["package"] for _ in range(2)
    )
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
        assert str(first.parent).encode() not in path.read_bytes()


def test_without_the_optional_inputs_the_card_says_so(run_component: Any, inputs: dict[str, Path]) -> None:
    """A model and a tokenizer are enough; what was not measured is not invented."""
    result = run_component("export", {}, {port: inputs[port] for port in ("model", "tokenizer")})
    package = Package.open(result.outputs["package"])
    card = (package.folder / "MODEL_CARD.md").read_text()
    assert package.manifest["bits_per_byte"] is None
    assert "bits_per_byte_increase" not in result.metrics
    assert "was not measured" in card
    assert "Not evaluated in this run" in card
    assert "model-index" not in yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize(
    ("port", "report", "message"),
    [
        ("gate", {"verdict": "closed", "rules": []}, "says 'closed', expected 'open'"),
        ("gate", {"models": {}}, "says None, expected 'open'"),
        ("evaluation", {"benchmarks": {}}, "holds no models"),
        ("evaluation", {"models": {"a": {}, "b": {}}}, "evaluation has a, b; set `evaluated_as`"),
    ],
)
def test_a_gate_that_is_not_open_and_foreign_reports_are_refused(
    run_component: Any, inputs: dict[str, Path], tmp_path: Path, port: str, report: Any, message: str
) -> None:
    """Nothing is exported past a gate that does not say open."""
    write(tmp_path, "report.json", report)
    with pytest.raises(ComponentError, match=message):
        run_component("export", {}, {**inputs, port: tmp_path})


def test_too_large_a_loss_fails_the_stage(
    run_component: Any, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """4-bit weights that came out far too sure of themselves are not shipped, unless so much was allowed."""

    unchanged = packages.read_decoder

    def read(folder: Path, form: str) -> Decoder:
        decoder = unchanged(folder, "float32")
        if form == "int4":
            decoder.embedding[...] = decoder.embedding[...] * 40
        return decoder

    monkeypatch.setattr(export, "read_decoder", read)
    with pytest.raises(
        ComponentError, match="at most 10% more; use embedding_bits: 8 or a smaller group_size"
    ):
        run_component("export", {}, inputs)
    run_component("export", {"max_loss_increase": 1e6}, inputs)


def test_the_loss_is_measured_on_as_much_text_as_asked(
    run_component: Any, inputs: dict[str, Path], tmp_path: Path
) -> None:
    """A limit in bytes gives what a held-out text of that length gives."""
    shutil.copytree(inputs["benchmarks"], tmp_path / "short")
    write(tmp_path / "short", "held.jsonl", {"id": "1", "text": TEXT[:1024], "source": "code"})
    limited = run_component("export", {"held_out_bytes": 1024}, inputs).metrics
    assert limited == run_component("export", {}, {**inputs, "benchmarks": tmp_path / "short"}).metrics
    assert limited != run_component("export", {}, inputs).metrics


def test_a_foreign_tokenizer_is_refused(run_component: Any, inputs: dict[str, Path], tmp_path: Path) -> None:
    """Model and tokenizer must have the same ids."""
    shape = dataclasses.replace(SHAPE, vocab_size=77)
    weights.save(tmp_path, shape, Decoder(shape, rngs=nnx.Rngs(0)))
    with pytest.raises(ComponentError, match="77 token ids"):
        run_component("export", {}, {**inputs, "model": tmp_path})


def test_an_unknown_tensor_is_not_shipped_unquantised(inputs: dict[str, Path]) -> None:
    """A new kind of weight must be given its input axes before it can be exported."""
    with pytest.raises(ValueError, match=r"got the tensor layers\.experts\.gate"):
        quantise_tensors({"layers.experts.gate": np.ones((2, 2), np.float32)}, group_size=2, embedding_bits=4)
