"""A training that takes seconds: its configuration, token streams with held-out text, and what it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training import streams as token_stream

SHAPE = {
    "layers": 1,
    "model_size": 32,
    "heads": 2,
    "kv_heads": 1,
    "head_size": 16,
    "feed_forward_size": 48,
}
PHASES = [
    {"until_tokens": 8 * 32 * 10, "sequence_length_tokens": 32, "weights": {"code": 3, "docs": 1}},
    {
        "until_tokens": 8 * 32 * 20,
        "sequence_length_tokens": 32,
        "weights": {"docs": 1},
        "learning_rate": 0.01,
    },
]
CONFIG: dict[str, Any] = {
    "model": SHAPE,
    "phases": PHASES,
    "batch_size": 8,
    "learning_rate": 0.02,
    "warmup_steps": 2,
    "evaluate_every_steps": 10,
    "checkpoint_every_steps": 5,
    "max_epochs": 100,
}
TEXTS = {
    "code": "def set_count(items): Return the count of the items. " * 60,
    "docs": "Check the path. " * 150,
}


def after_pretraining(name: str, tiny: SimpleNamespace) -> dict[str, Path]:
    """The inputs of ``sft``, ``reward`` or ``rlhf``."""
    if name == "rlhf":
        return {
            "policy": tiny.model,
            "tokenizer": tiny.tokenizer,
            "prompts": tiny.chats,
            "reward": tiny.reward,
        }
    data = {"sft": {"chats": tiny.chats}, "reward": {"preferences": tiny.preferences}}
    return {"model": tiny.model, "tokenizer": tiny.tokenizer, **data[name]}


def assert_same_answers(spread: Path, alone: Path) -> None:
    """Held-out answers and the length of every step's are equal; rewards and divergence agree within 1e-5."""
    ours, theirs = (json.loads((folder / "report.json").read_text()) for folder in (spread, alone))
    assert ours["examples"] == theirs["examples"]
    assert ours["curves"]["answer_tokens"] == theirs["curves"]["answer_tokens"]
    for name, values in theirs["curves"].items():
        np.testing.assert_allclose(ours["curves"][name], values, atol=1e-5, rtol=0, err_msg=name)


def write_corpus(folder: Path, tokenizer_folder: Path) -> dict[str, Path]:
    """Writes two sources and their held-out text into an empty folder; returns the inputs of ``pretrain``."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    entries = {}
    for source, text in TEXTS.items():
        ids = np.asarray([*tokenizer.encode(text), tokenizer.eos_id])
        spans = pa.table({"doc_id": ["0" * 32], "start": [0], "length": [len(ids)]})
        entries[source] = token_stream.write_source(
            folder / "tokens", source, [ids], spans, tokenizer.vocab_size
        )
    token_stream.write_index(folder / "tokens", tokenizer.vocab_size, entries)
    (folder / "benchmarks").mkdir()
    rows = [{"id": source, "text": text[:500], "source": source} for source, text in TEXTS.items()]
    (folder / "benchmarks" / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"name": "held_out", "type": "text", "examples": 2, "file": "held_out.jsonl"}
    (folder / "benchmarks" / "index.json").write_text(json.dumps({"benchmarks": [entry]}))
    return {
        "tokens": folder / "tokens",
        "tokenizer": tokenizer_folder,
        "benchmarks": folder / "benchmarks",
    }


def files(outputs: Mapping[str, Path]) -> dict[str, bytes]:
    """Every file of every output."""
    return {
        f"{port}/{path.name}": path.read_bytes()
        for port, folder in outputs.items()
        for path in folder.iterdir()
    }


def first_step(before: Path, after: Path) -> tuple[np.ndarray, np.ndarray]:
    """All matrices of a model as one vector, and what a training of a single step added to them."""
    old, new = (load_file(folder / "weights.safetensors") for folder in (before, after))
    names = [name for name in sorted(old) if not name.endswith("scale")]
    weights = np.concatenate([old[name].ravel() for name in names]).astype(float)
    return weights, np.concatenate([new[name].ravel() for name in names]) - weights
