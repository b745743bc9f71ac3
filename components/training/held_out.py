"""Held-out text during training: the ``text`` benchmarks of an artifact, as bits per byte per source.

Bits per byte and not loss per token, because they compare across vocabularies. A sample of fixed size per source is
measured, so that the cost does not grow with the benchmarks; ``evaluate`` measures all of it, with intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from millrace.components.contract import Artifact
from millrace.data.examples import benchmark_files
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.model.answers.score import text_nats, windows
from millrace.model.training.hooks import Evaluation

HeldOut = tuple[int, list[list[int]]]


def read(benchmarks: Artifact | None, tokenizer: Tokenizer, bytes_per_source: int) -> dict[str, HeldOut]:
    """Held-out text per source: its bytes, and its documents' tokens after the boundary token.

    Documents are taken in the benchmark's order up to the limit, the last one cut.
    """
    sizes: dict[str, int] = {}
    documents: dict[str, list[list[int]]] = {}
    for benchmark in benchmark_files.read(benchmarks.path) if benchmarks else []:
        if benchmark.type != "text":
            continue
        for row in benchmark.examples:
            source = row["source"]
            room = bytes_per_source - sizes.get(source, 0)
            text = row["text"].encode()[:room].decode(errors="ignore")
            if text:
                sizes[source] = sizes.get(source, 0) + len(text.encode())
                documents.setdefault(source, []).append([tokenizer.bos_id, *tokenizer.encode(text)])
    return {source: (sizes[source], documents[source]) for source in sorted(documents)}


def evaluation(
    held_out: Mapping[str, HeldOut],
    window_tokens: int,
    every_steps: int,
    tell: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Evaluation | None:
    """Bits per byte over all held-out text and per source, or None without any."""
    if not held_out:
        return None
    rows = [
        (source, row)
        for source, (_, documents) in held_out.items()
        for document in documents
        for row in windows(document, window_tokens)
    ]

    def measure(decoder: Any) -> list[float]:
        nats = text_nats(decoder, [row for _, row in rows])
        bits = dict.fromkeys(held_out, 0.0)
        for (source, _), value in zip(rows, nats, strict=True):
            bits[source] += float(value) / math.log(2)
        total = sum(bits.values()) / sum(size for size, _ in held_out.values())
        return [total, *(bits[source] / held_out[source][0] for source in held_out)]

    names = ["bits_per_byte", *(f"bits_per_byte_{source}" for source in held_out)]
    return Evaluation(names, measure, every_steps, tell)
