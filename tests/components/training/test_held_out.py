"""Held-out text is cut to its bytes, and measured as bits of its own bytes, whatever the windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.components.conftest import write_lines

from millrace.components.contract import Artifact
from millrace.components.training import held_out
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.score import text_nats
from millrace.model.package import weights

ROWS = [("b", "path of the count"), ("a", "naïve name"), ("b", "value of the items " * 9), ("b", "index")]


@pytest.fixture
def read(tiny: SimpleNamespace, tmp_path: Path) -> Callable[[int], dict[str, held_out.HeldOut]]:
    """Reads a benchmark of four texts, and one of another type, up to so many bytes."""
    rows = [{"id": str(n), "source": source, "text": text} for n, (source, text) in enumerate(ROWS)]
    write_lines(tmp_path / "held_out.jsonl", rows)
    write_lines(
        tmp_path / "choice.jsonl",
        [{"id": "0", "source": "c", "prompt": "x", "choices": ["y", "z"], "answer": 0}],
    )
    texts = {"name": "held_out", "type": "text", "examples": 4, "file": "held_out.jsonl"}
    choices = {"name": "choice", "type": "multiple_choice", "examples": 1, "file": "choice.jsonl"}
    write_lines(tmp_path / "index.json", [{"benchmarks": [texts, choices]}])
    tokenizer = Tokenizer.load(tiny.tokenizer)
    return lambda size: held_out.read(Artifact(tmp_path, "", "", ""), tokenizer, size)


def test_texts_are_taken_in_order_and_the_last_one_is_cut(
    read: Callable[[int], dict[str, held_out.HeldOut]], tiny: SimpleNamespace
) -> None:
    """Each source has a room of its own; a character that would be cut in two is left out."""
    tokenizer = Tokenizer.load(tiny.tokenizer)
    found = read(20)
    texts = {name: [tokenizer.decode(ids[1:]) for ids in documents] for name, (_, documents) in found.items()}
    assert texts == {"a": ["naïve name"], "b": ["path of the count", "val"]}
    assert {name: size for name, (size, _) in found.items()} == {"a": 11, "b": 20}
    assert read(3)["a"][0] == 2  # "na" and half of the third character
    assert all(ids[0] == tokenizer.bos_id for _, documents in found.values() for ids in documents)
    assert list(read(10_000)) == ["a", "b"]


def test_bits_are_those_of_each_sources_bytes(
    read: Callable[[int], dict[str, held_out.HeldOut]], tiny: SimpleNamespace
) -> None:
    """Against nats of the whole documents; all text together weighs sources by their bytes."""
    _, decoder = weights.load(tiny.model)
    found = read(40)
    evaluation = held_out.evaluation(found, 64, 5)
    assert evaluation is not None
    assert list(evaluation.names) == ["bits_per_byte", "bits_per_byte_a", "bits_per_byte_b"]
    assert evaluation.every_steps == 5
    bits = {name: text_nats(decoder, rows).sum() / math.log(2) for name, (_, rows) in found.items()}
    sizes = {name: size for name, (size, _) in found.items()}
    wanted = [sum(bits.values()) / sum(sizes.values()), *(bits[name] / sizes[name] for name in ("a", "b"))]
    assert list(evaluation.measure(decoder)) == pytest.approx(wanted, rel=1e-5)


def test_benchmarks_are_optional(tiny: SimpleNamespace) -> None:
    """Without held-out text nothing is measured."""
    nothing = held_out.read(None, Tokenizer.load(tiny.tokenizer), 1000)
    assert held_out.evaluation(nothing, 32, 10) is None
