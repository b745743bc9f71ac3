"""The ablation finds the source that helps, ends with the same bytes after a kill, and feeds ``pretrain``."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from millrace.components import mixture_proxies, pretrain
from millrace.components.contract import ComponentError
from millrace.data import token_stream
from millrace.data.tokenizer import Tokenizer
from millrace.model import weights
from millrace.model.pretraining_loss import NextTokenLoss

SHAPE = {"layers": 1, "model_size": 32, "heads": 2, "kv_heads": 1, "head_size": 16, "feed_forward_size": 48}
CONFIG: dict[str, Any] = {
    "model": SHAPE,
    "tokens": 8 * 32 * 12,
    "sequence_length_tokens": 32,
    "batch_size": 8,
    "learning_rate": 0.02,
    "warmup_steps": 2,
    "checkpoint_every_steps": 4,
    "max_epochs": 20,
    "samples": 7,
}


def texts() -> dict[str, str]:
    """Sentences that the held-out text is made of, others that are no help, and letters without order."""
    draw = random.Random(0)
    nouns, verbs = ["count", "name", "value", "index", "path"], ["Return", "Check", "Set", "Find"]
    useful = " ".join(f"{draw.choice(verbs)} the {draw.choice(nouns)} of the items." for _ in range(400))
    code = " ".join(f"def {draw.choice(verbs).lower()}_{draw.choice(nouns)}(items):" for _ in range(400))
    noise = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz (.):_") for _ in range(9_000))
    return {"useful": useful, "code": code, "noise": noise}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny: SimpleNamespace) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ablate")
    tokenizer = Tokenizer.load(tiny.tokenizer)
    entries = {}
    for source, text in texts().items():
        ids = np.asarray([*tokenizer.encode(text), tokenizer.eos_id])
        spans = pa.table({"doc_id": ["0" * 32], "start": [0], "length": [len(ids)]})
        entries[source] = token_stream.write_source(
            folder / "tokens", source, [ids], spans, tokenizer.vocab_size
        )
    token_stream.write_index(folder / "tokens", tokenizer.vocab_size, entries)
    held_out = "Find the name of the items. Set the path of the items. Check the value of the items. " * 6
    (folder / "benchmarks").mkdir()
    row = {"id": "a", "text": held_out, "source": "useful"}
    (folder / "benchmarks" / "held_out.jsonl").write_text(json.dumps(row) + "\n")
    entry = {"name": "held_out", "type": "text", "examples": 1, "file": "held_out.jsonl"}
    (folder / "benchmarks" / "index.json").write_text(json.dumps({"benchmarks": [entry]}))
    return {"tokens": folder / "tokens", "tokenizer": tiny.tokenizer, "benchmarks": folder / "benchmarks"}


def files(outputs: dict[str, Path]) -> dict[str, bytes]:
    """Every file of every output."""
    return {
        f"{port}/{path.name}": path.read_bytes()
        for port, folder in outputs.items()
        for path in folder.iterdir()
    }


@pytest.fixture(scope="module")
def finished() -> dict[str, SimpleNamespace]:
    """Runs that several tests look at."""
    return {}


@pytest.fixture
def done(
    run_component: Any, corpus: dict[str, Path], finished: dict[str, SimpleNamespace]
) -> SimpleNamespace:
    """A run of ``CONFIG`` from start to end."""
    if not finished:
        finished["done"] = run_component("ablate_mixture", CONFIG, corpus)
    return finished["done"]


def test_it_puts_weight_on_the_source_that_helps(done: SimpleNamespace) -> None:
    """More than the prior has, and the held-out text is better predicted."""
    found = json.loads((done.outputs["mixture"] / "weights.json").read_text())
    report = json.loads((done.outputs["report"] / "report.json").read_text())
    print(json.dumps(report, indent=1))
    assert found["weights"]["useful"] > found["prior"]["weights"]["useful"] + 0.2
    assert found["verified"]["objective"] < 0.95 * found["prior"]["objective"]
    assert sum(found["weights"].values()) == pytest.approx(1)
    assert found["verified"]["objective"] == min(run["objective"] for run in report["runs"])
