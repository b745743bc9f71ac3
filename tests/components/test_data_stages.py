"""All data stages one after another: the same bytes whatever runs them, and however it was cut into shards."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from millrace.data.documents import shards as documents

RNG = random.Random(11)
WORDS = ["".join(RNG.choices("abcdefghiklmnoprstu", k=RNG.randint(2, 9))) for _ in range(3000)]
STOP_WORDS = ["the", "of", "and", "to"]
Chain = Callable[..., dict[str, str]]


def prose(words: int) -> str:
    """Sentences that Gopher's rules let pass."""
    found = [RNG.choice(STOP_WORDS if RNG.random() < 0.3 else WORDS) for _ in range(words)]
    lines = [" ".join(found[at : at + 12]).capitalize() + "." for at in range(0, words, 12)]
    return "\n".join(lines)


QUESTIONS = [" ".join(RNG.choices(WORDS, k=30)) for _ in range(5)]
SHARED = prose(48)
TEXTS = [prose(RNG.randint(80, 200)) for _ in range(90)]
TEXTS += [text.replace("the", "thee", 1) for text in TEXTS[:6]]  # near-duplicates
TEXTS += [f"{SHARED}\n{prose(80)}" for _ in range(4)]  # a repeated substring
TEXTS += [f"{prose(50)}\n{question}\n{prose(50)}" for question in QUESTIONS[:3]]  # contamination
TEXTS += ["short", f"Write to someone@example.com. {prose(90)}"]


@pytest.fixture
def chain(run_component: Any, tmp_path: Path) -> Chain:
    """Runs all data stages on documents in this many shards, and returns a digest for every file that they write."""
    benchmarks = tmp_path / "benchmarks"
    benchmarks.mkdir()
    rows = [{"id": str(at), "prompt": text, "answer": "yes"} for at, text in enumerate(QUESTIONS)]
    (benchmarks / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    index = [{"name": "quiz", "type": "generation", "examples": len(rows), "file": "quiz.jsonl"}]
    (benchmarks / "index.json").write_text(json.dumps({"benchmarks": index}))

    path = tmp_path / "texts.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(at), "text": text}) + "\n" for at, text in enumerate(TEXTS))
    )

    def run(shards: int, **beam: Any) -> dict[str, str]:
        digests: dict[str, str] = {}

        def stage(name: str, config: dict[str, Any], **inputs: Path) -> dict[str, Path]:
            made: dict[str, Path] = run_component(name, config, inputs, beam=beam).outputs
            for port, output in made.items():
                for path in sorted(output.rglob("*")):
                    if path.is_file():
                        key = f"{name}/{port}/{path.relative_to(output)}"
                        digests[key] = hashlib.sha256(path.read_bytes()).hexdigest()
            return made

        source = {"type": "files", "paths": [str(path)], "id_column": "id"}
        table = pq.read_table(stage("ingest", {"sources": {"prose": source}})["documents"])
        texts = tmp_path / f"shards-{shards}"
        texts.mkdir(exist_ok=True)
        size = -(-table.num_rows // shards)
        for at in range(shards):
            documents.write_shard(texts / documents.shard_name(at), table.slice(at * size, size))
        rules = [
            {"rule": "unicode"},
            {"rule": "gopher_quality"},
            {"rule": "gopher_repetition"},
            {"rule": "pii"},
        ]
        texts = stage("filter", {"rules": {"prose": rules}}, documents=texts)["documents"]
        texts = stage("dedup", {}, documents=texts)["documents"]
        spans = {"methods": [{"method": "substrings", "min_words": 30}]}
        texts = stage("dedup_spans", spans, documents=texts)["documents"]
        texts = stage("decontaminate", {"min_recall": 0.0}, documents=texts, benchmarks=benchmarks)[
            "documents"
        ]
        made = stage("train_tokenizer", {"vocab_size": 400, "sample_bytes": 20_000}, documents=texts)
        stage("tokenize", {}, documents=texts, tokenizer=made["tokenizer"])
        left = pq.read_table(texts).to_pylist()
        digests["texts"] = hashlib.sha256(json.dumps(left).encode()).hexdigest()
        return digests

    return run


def test_runners_and_threads_give_the_same_bytes(chain: Chain) -> None:
    """One thread, several, and Beam's older runner write the same files, byte for byte."""
    alone = chain(4, cores=1)
    assert chain(4, cores=3) == alone
    assert chain(4, beam_runner="apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner") == alone
    assert len({key.split("/")[0] for key in alone}) == 8


@pytest.mark.slow
def test_processes_give_the_same_bytes(chain: Chain) -> None:
    """Workers in processes of their own, which get everything over gRPC, write the same files."""
    assert chain(4, cores=2, beam_options={"direct_running_mode": "multi_processing"}) == chain(4, cores=1)


def test_shards_do_not_change_a_text(chain: Chain) -> None:
    """Texts, token ids and vocabulary are the same for any number of shards."""
    one, many = chain(1), chain(7)
    assert one["texts"] == many["texts"]
    same = [key for key in one if key.startswith(("train_tokenizer/tokenizer/", "tokenize/tokens/"))]
    assert same
    assert {key: many[key] for key in same} == {key: one[key] for key in same}
