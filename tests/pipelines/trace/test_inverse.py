"""Every document of a trained run leads to exactly the steps that lead back to it."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.inverse import assert_inverse, every_document
from typer.testing import CliRunner

from millrace.pipelines.cli import app
from millrace.pipelines.store.store import Store
from millrace.pipelines.trace.runs import open_run

SPEC = """
name: inverse
stages:
  ingest: {uses: ingest, with: {sources: {
    prose: {type: files, paths: [prose/*.jsonl]},
    notes: {type: files, paths: [notes/*.jsonl]}}}}
  dedup: {uses: dedup, inputs: {documents: ingest.documents}}
  train_tokenizer: {uses: train_tokenizer, inputs: {documents: dedup.documents},
    with: {vocab_size: 300, algorithm: bpe, sample_bytes: 100000}}
  tokenize: {uses: tokenize, inputs: {documents: dedup.documents, tokenizer: train_tokenizer.tokenizer}}
  pretrain: {uses: pretrain, inputs: {tokens: tokenize.tokens, tokenizer: train_tokenizer.tokenizer}, with: {
    model: {layers: 1, model_size: 8, heads: 1, kv_heads: 1, head_size: 4, feed_forward_size: 8},
    batch_size: 4, max_epochs: 40, warmup_steps: 1, evaluate_every_steps: 1000, phases: [
      {until_tokens: 9000, sequence_length_tokens: 32, weights: {prose: 0.7, notes: 0.3}},
      {until_tokens: 15000, sequence_length_tokens: 48, weights: {prose: 0.2, notes: 0.8}},
      {until_tokens: 25000, sequence_length_tokens: 32, weights: {notes: 1.0}}]}}
"""


def write_texts(folder: Path) -> None:
    """Two sources of three files each: documents of 1 to 60 words, some of them twice."""
    draw = random.Random(0)
    for source, count in (("prose", 30), ("notes", 12)):
        (folder / source).mkdir()
        for number in range(3):
            texts = [" ".join(draw.choices("abcdefghij", k=draw.randint(1, 60))) for _ in range(count)]
            rows = [json.dumps({"text": text}) for text in [*texts, texts[0]]]
            (folder / source / f"{number}.jsonl").write_text("\n".join(rows) + "\n")


def test_every_document_leads_to_exactly_the_steps_that_lead_to_it(tmp_path: Path) -> None:
    """Two sources, three files each, three phases, several epochs: both directions agree for each document."""
    write_texts(tmp_path)
    (tmp_path / "pipeline.yaml").write_text(SPEC)
    result = CliRunner().invoke(app, ["run", str(tmp_path / "pipeline.yaml")])
    assert result.exit_code == 0, result.output
    with open_run(Store(str(tmp_path / ".millrace"))) as run:
        assert len(every_document(run)) == 3 * (31 + 13)
        assert assert_inverse(run) > 25_000 // 48
