"""Small artifacts that the tests of post-training and evaluation share: a tokenizer, a model, chats, pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.small_training import write_corpus

from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training
from millrace.model.judges import reward
from millrace.model.network import decoder
from millrace.model.network.config import ModelConfig
from millrace.model.package import weights

NOUNS = ("count", "name", "value", "index", "path", "number")
VERBS = ("Return", "Check", "Set", "Find", "Print", "Remove")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def question(verb: str, noun: str) -> str:
    """A prompt that names the answer's words."""
    return f"def {verb.lower()}_{noun}(items):"


def answer(verb: str, noun: str) -> str:
    """The answer to ``question``."""
    return f"{verb} the {noun} of the items."


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Folders ``tokenizer``, ``model``, ``chats`` and ``preferences`` over 36 questions and their answers.

    ``reward`` is a reward model whose random head is as good as any.
    """
    base = tmp_path_factory.mktemp("tiny")
    couples = [(verb, noun) for verb in VERBS for noun in NOUNS]
    texts = [f"{question(*couple)} {answer(*couple)}" for couple in couples]
    special = (*tokenizers.CHAT_TOKENS, *tokenizers.reserved_tokens(2))
    trained = tokenizer_training.train(
        texts * 4, vocab_size=340, algorithm="unigram", special=special, character_coverage=1.0
    )
    (base / "tokenizer").mkdir()
    tokenizer = tokenizers.write(base / "tokenizer", trained, special, {})
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        layers=1,
        model_size=32,
        heads=2,
        kv_heads=1,
        head_size=16,
        feed_forward_size=64,
        max_sequence_tokens=64,
    )
    (base / "model").mkdir()
    weights.save(base / "model", config, decoder.create(config, 0))
    judge = reward.RewardModel(decoder.create(config, 0), 1)
    judge.kernel[...] = np.random.default_rng(0).normal(size=judge.kernel.shape).astype(np.float32)
    (base / "reward").mkdir()
    reward.save(base / "reward", config, judge, [reward.Head("match")])

    def chat(index: int, couple: tuple[str, str]) -> dict[str, Any]:
        messages = [
            {"role": "user", "content": question(*couple)},
            {"role": "assistant", "content": answer(*couple)},
        ]
        return {"id": f"chat-{index}", "messages": messages, "source": "code"}

    def pairs(index: int, couple: tuple[str, str]) -> list[dict[str, Any]]:
        true = answer(*couple)
        pair = {"prompt": question(*couple), "chosen": true, "source": "code"}
        cut = true[: len(true) // 2]
        other = answer(*couples[(index + 7) % len(couples)])
        return [
            {**pair, "id": f"{index}-cut", "head": "complete", "rejected": cut},
            {**pair, "id": f"{index}-other", "head": "match", "rejected": other},
        ]

    chats = [chat(index, couple) for index, couple in enumerate(couples)]
    preferences = [pair for index, couple in enumerate(couples) for pair in pairs(index, couple)]
    write_lines(base / "chats" / "train.jsonl", chats[:30])
    write_lines(base / "chats" / "held_out.jsonl", chats[30:])
    write_lines(base / "preferences" / "train.jsonl", preferences[:60])
    write_lines(base / "preferences" / "held_out.jsonl", preferences[60:])
    return SimpleNamespace(
        tokenizer=base / "tokenizer",
        model=base / "model",
        chats=base / "chats",
        preferences=base / "preferences",
        reward=base / "reward",
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny: SimpleNamespace) -> dict[str, Path]:
    """Folders ``tokens`` of two sources, their ``tokenizer``, and ``benchmarks`` with held-out text of both."""
    return write_corpus(tmp_path_factory.mktemp("pretrain"), tiny.tokenizer)
