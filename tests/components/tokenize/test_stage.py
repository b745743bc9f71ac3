"""The tokenize stage: streams hold exactly the documents' tokens, whatever the shards and threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from millrace.components.contract import ComponentError
from millrace.data.documents import shards as documents
from millrace.data.tokenizer import tokenizer as tokenizers
from millrace.data.tokenizer import training as tokenizer_training
from millrace.data.training.streams import TokenStreams

TEXTS = [f"def f{i}(x):\n    return x * {i}  # \u2581 日本\n" * (i % 5) for i in range(60)]


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    model = tokenizer_training.train(
        TEXTS, vocab_size=330, algorithm="unigram", special=tokenizers.CHAT_TOKENS, character_coverage=1.0
    )
    tokenizers.write(folder, model, tokenizers.CHAT_TOKENS, {})
    return folder


def corpus(folder: Path, texts: list[str], shards: int) -> Path:
    folder.mkdir()
    columns = {"lang": "", "uri": "", "locator": "", "metadata": "{}"}
    rows = [
        {**columns, "doc_id": f"{i:032x}", "text": text, "source": "abc"[i % 3]}
        for i, text in enumerate(texts)
    ]
    size = -(-len(rows) // shards)
    for index in range(shards):
        part = rows[index * size : (index + 1) * size]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


def test_streams_hold_each_document_and_its_boundary(
    run_component: Any, tmp_path: Path, vocabulary: Path
) -> None:
    """Every document's span decodes to its text and ends in the boundary token."""
    done = run_component(
        "tokenize", {}, {"documents": corpus(tmp_path / "c", TEXTS, 3), "tokenizer": vocabulary}
    )
    streams = TokenStreams.load(done.outputs["tokens"])
    tokenizer = tokenizers.Tokenizer.load(vocabulary)
    assert streams.sources == ("a", "b", "c")
    for index, text in enumerate(TEXTS):
        span = streams.span_of(f"{index:032x}")
        assert span is not None
        source, start, length = span
        ids = streams.read(source, start, length).tolist()
        assert source == "abc"[index % 3]
        assert ids == [*tokenizer.encode(text), tokenizer.eos_id]
    assert done.metrics["documents_in"] == 60
    assert done.metrics["tokens_out"] == sum(streams.source_tokens.values())
    assert done.metrics["bytes_in"] == sum(len(text.encode()) for text in TEXTS)


def test_shards_and_threads_do_not_show(run_component: Any, tmp_path: Path, vocabulary: Path) -> None:
    """One shard and many, one thread and several give the same files."""
    found = []
    for shards, threads in ((1, 1), (4, 3)):
        inputs = {"documents": corpus(tmp_path / f"c{shards}", TEXTS, shards), "tokenizer": vocabulary}
        folder = run_component("tokenize", {"threads": threads}, inputs).outputs["tokens"]
        found.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert found[0] == found[1]
    assert len(found[0]) == 7


def test_nothing_to_encode_is_an_error(run_component: Any, tmp_path: Path, vocabulary: Path) -> None:
    """An empty corpus ends in a message, not in an empty artifact."""
    with pytest.raises(ComponentError, match="no documents"):
        run_component("tokenize", {}, {"documents": corpus(tmp_path / "c", [], 1), "tokenizer": vocabulary})


def test_too_few_tokens_are_an_error(run_component: Any, tmp_path: Path, vocabulary: Path) -> None:
    """As many as there are pass; one more is asked for in vain."""
    inputs = {"documents": corpus(tmp_path / "c", TEXTS, 2), "tokenizer": vocabulary}
    tokens = int(run_component("tokenize", {}, inputs).metrics["tokens_out"])
    run_component("tokenize", {"min_tokens": tokens}, inputs)
    with pytest.raises(
        ComponentError, match=f"got {tokens} tokens, expected at least min_tokens = {tokens + 1}"
    ):
        run_component("tokenize", {"min_tokens": tokens + 1}, inputs)
