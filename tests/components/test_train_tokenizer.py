"""The tokenizer stage: repeatable, independent of shards, weighted, and clear about what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from millrace.components.contract import ComponentError
from millrace.data import documents
from millrace.data.tokenizer import Tokenizer

SOURCES = sorted(Path(json.__file__).parent.glob("*.py"))


def corpus(folder: Path, shards: int) -> Path:
    """Some of the standard library's code and some prose, over so many shards."""
    rows = [
        {"text": path.read_text(), "source": "code", "uri": path.name}
        for path in SOURCES
        if path.stat().st_size
    ]
    rows += [
        {"text": f"It was day {i} of the voyage.\n" * 20, "source": "prose", "uri": str(i)} for i in range(20)
    ]
    filled = [
        {"lang": "", "locator": "", "metadata": "{}", **row, "doc_id": documents.document_id(row["uri"], "")}
        for row in rows
    ]
    folder.mkdir()
    size = -(-len(filled) // shards)
    for index in range(shards):
        part = filled[index * size : (index + 1) * size]
        documents.write_shard(folder / documents.shard_name(index), documents.documents_table(part))
    return folder


def test_equal_documents_give_equal_bytes(run_component, tmp_path: Path) -> None:
    """How the documents are cut into shards does not show in the tokenizer."""
    config = {"vocab_size": 500, "sample_bytes": 40_000, "fertility_bytes": 5_000}
    outputs = [
        run_component("train_tokenizer", config, {"documents": corpus(tmp_path / f"c{n}", n)}) for n in (1, 3)
    ]
    files = [{p.name: p.read_bytes() for p in o.outputs["tokenizer"].iterdir()} for o in outputs]
    assert files[0] == files[1]
    assert set(files[0]) == {"tokenizer.model", "tokenizer.json"}
    facts = json.loads(files[0]["tokenizer.json"])
    loaded = Tokenizer.load(outputs[0].outputs["tokenizer"])
    assert facts["vocab_size"] == loaded.vocab_size == outputs[0].metrics["vocab_size"] == 500
    assert set(facts["fertility"]) == {"code", "prose"}
    assert outputs[0].metrics["bytes_per_token"] > 1.3


def test_weights_choose_the_sample(run_component, tmp_path: Path) -> None:
    """A source without weight gives nothing to the sample."""
    config = {"vocab_size": 400, "sample_bytes": 3_000, "weights": {"prose": 1.0}, "algorithm": "bpe"}
    done = run_component("train_tokenizer", config, {"documents": corpus(tmp_path / "c", 1)})
    facts = json.loads((done.outputs["tokenizer"] / "tokenizer.json").read_text())
    assert facts["sample_bytes"] == {"code": 0, "prose": 3_000}
    assert facts["fertility"]["prose"]["bytes_per_token"] > facts["fertility"]["code"]["bytes_per_token"]


@pytest.mark.parametrize(
    ("config", "message"),
    [({"weights": {"books": 1.0}}, "books.*code, prose"), ({"vocab_size": 300}, "300 ids")],
)
def test_impossible_wishes_are_clear_errors(
    run_component, tmp_path: Path, config: dict, message: str
) -> None:
    """A weight for a source that is not there, or too few ids, is refused with what to do."""
    with pytest.raises(ComponentError, match=message):
        run_component("train_tokenizer", config, {"documents": corpus(tmp_path / "c", 1)})
