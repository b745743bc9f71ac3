"""Batches hold the rows that the plan names, in any selection, and packed documents are apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from tests.small_training import CONFIG

from millrace.components.contract import Artifact, ComponentError, Inputs
from millrace.components.training.config import PretrainConfig
from millrace.components.training.mixture.reading import open_reading, plan, read_batch
from millrace.data.training import streams as token_stream
from millrace.model.losses.next_token import NextTokenLoss
from millrace.model.network import decoder as network


def given(corpus: dict[str, Path]) -> Inputs:
    return Inputs({port: Artifact(folder, "", "", port) for port, folder in corpus.items()})


@pytest.mark.parametrize("packing", ["concatenate", "documents"])
def test_some_rows_are_those_of_the_whole_batch(corpus: dict[str, Path], packing: str) -> None:
    """Every array of the rows asked for, in their order; tokens are the streams' at the planned spans."""
    config = PretrainConfig.model_validate(CONFIG | {"packing": packing})
    config, reading = open_reading("pretrain", 0, config, given(corpus))
    whole = read_batch(config, reading.streams, reading.mixture, 3)
    some = read_batch(config, reading.streams, reading.mixture, 3, [5, 1])
    assert set(whole) == ({"tokens"} if packing == "concatenate" else {"tokens", "segments", "positions"})
    for name, rows in whole.items():
        np.testing.assert_array_equal(some[name], rows[[5, 1]])
    for row, span in zip(whole["tokens"], reading.mixture.locate(3), strict=True):
        np.testing.assert_array_equal(row, reading.streams.read(*span))


def test_what_does_not_fit_names_the_component(corpus: dict[str, Path], tmp_path: Path) -> None:
    """Another vocabulary, and a source that would be read too often."""
    token_stream.write_index(tmp_path, 999, {})
    config = PretrainConfig.model_validate(CONFIG)
    with pytest.raises(ComponentError, match=r"^distill: got 999 token ids in the tokens"):
        open_reading("distill", 0, config, given(corpus | {"tokens": tmp_path}))
    often: dict[str, Any] = {"max_epochs": 0.5}
    with pytest.raises(ComponentError, match=r"^distill: the phases read .* at most max_epochs = 0.5"):
        open_reading("distill", 0, PretrainConfig.model_validate(CONFIG | often), given(corpus))


def test_packed_documents_have_the_loss_they_have_alone(tmp_path: Path) -> None:
    """Each in a row of its own after the boundary token, as the model is scored and writes."""
    documents = [np.asarray([*range(5, 5 + size), 1]) for size in (9, 3, 14, 6, 20)]
    lengths = [len(ids) for ids in documents]
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    spans = pa.table({"doc_id": [f"{i:032x}" for i in range(5)], "start": starts, "length": lengths})
    entry = token_stream.write_source(tmp_path, "a", documents, spans, 64)
    token_stream.write_index(tmp_path, 64, {"a": entry})
    streams = token_stream.TokenStreams.load(tmp_path)
    phases = [{"until_tokens": 40, "sequence_length_tokens": 40, "weights": {"a": 1}}]
    config = PretrainConfig.model_validate(
        CONFIG | {"phases": phases, "batch_size": 1, "packing": "documents"}
    )
    mixture = plan(config, 0, streams.source_tokens, 64)
    decoder = network.create(config.model_shape(64), 0)
    batch = read_batch(config, streams, mixture, 0)
    packed = float(NextTokenLoss()(decoder, jax.tree.map(jnp.asarray, batch))[0])
    (_, first, length), *_ = mixture.locate(0)
    total = 0.0
    for start, ids in zip(starts, documents, strict=True):
        # The boundary token, where the row holds the one before, and the tokens that are inside the row.
        alone = np.concatenate([[1], ids])[max(first - start + 1, 0) : max(first + length - start + 1, 0)]
        if len(alone) > 1:
            value, _ = NextTokenLoss()(decoder, {"tokens": jnp.asarray(alone[None], jnp.int32)})
            total += float(value) * (len(alone) - 1)
    assert packed == pytest.approx(total / (length - 1), rel=1e-5)
    crossing = float(NextTokenLoss()(decoder, {"tokens": jnp.asarray(batch["tokens"])})[0])
    assert abs(crossing - packed) > 1e-4 * packed
