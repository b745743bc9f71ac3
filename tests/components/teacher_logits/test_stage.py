"""Every setting of a teacher's pass is in what it stores: its temperature, its order, its shards.

That it stores what the teacher says and goes on after a kill is held beside ``distill``, which reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.components.contract import ComponentError
from millrace.data.tokenizer.tokenizer import Tokenizer
from millrace.data.training.stored_logits import StoredLogits
from millrace.data.training.streams import write_index, write_source
from millrace.model.package import weights

ORDER: dict[str, Any] = {
    "phases": [{"until_tokens": 4 * 16 * 6, "sequence_length_tokens": 16, "weights": {"docs": 1}}],
    "batch_size": 4,
    "max_epochs": 100,
    "top_k": 8,
}


@pytest.fixture
def inputs(tiny: SimpleNamespace, corpus: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """The untrained model as a teacher, which says most where its embedding is made larger."""
    config, decoder = weights.load(tiny.model)
    decoder.embedding[...] *= 20
    (tmp_path / "teacher").mkdir()
    weights.save(tmp_path / "teacher", config, decoder)
    facts = {"tokenizer_sha256": Tokenizer.load(tiny.tokenizer).sha256}
    (tmp_path / "teacher" / "training.json").write_text(json.dumps(facts))
    ports = {port: corpus[port] for port in ("tokens", "tokenizer")}
    return ports | {"teacher": tmp_path / "teacher"}


def stored(run_component: Any, inputs: dict[str, Path], **settings: Any) -> tuple[StoredLogits, Path]:
    done = run_component("teacher_logits", ORDER | settings, inputs)
    return StoredLogits.load(done.outputs["logits"]), done.outputs["logits"]


def test_a_temperature_divides_the_logits(run_component: Any, inputs: dict[str, Path]) -> None:
    """Two temperatures keep the same tokens in the same order; differences of log-probabilities are halved."""
    (plain, ids), (soft, soft_ids) = (
        stored(run_component, inputs, temperature=temperature)[0].read(0) for temperature in (1.0, 2.0)
    )
    assert np.array_equal(ids, soft_ids)
    gaps, soft_gaps = (np.diff(part[..., :-1].astype(float), axis=-1) for part in (plain, soft))
    assert np.abs(gaps).max() > 0.1
    np.testing.assert_allclose(soft_gaps, gaps / 2, atol=1e-2)


def test_shards_hold_whole_steps_of_so_many_positions(run_component: Any, inputs: dict[str, Path]) -> None:
    """Steps of 64 positions: two and a half of them make shards of two steps, a large number one shard of all."""
    for shard_tokens, shards in ((160, 3), (2**20, 1)):
        _, folder = stored(run_component, inputs, shard_tokens=shard_tokens)
        assert len(list(folder.glob("*.npy"))) == 2 * shards


def test_packed_documents_are_read_apart(run_component: Any, inputs: dict[str, Path], tmp_path: Path) -> None:
    """A row's first position says the same either way; positions after a document's end do not."""
    documents = [np.arange(5) + 10 * number for number in range(30)]
    starts = [5 * number for number in range(30)]
    spans = pa.table({"doc_id": [f"{n:032x}" for n in range(30)], "start": starts, "length": [5] * 30})
    size = Tokenizer.load(inputs["tokenizer"]).vocab_size
    entry = write_source(tmp_path / "short", "docs", documents, spans, size)
    write_index(tmp_path / "short", size, {"docs": entry})
    given = inputs | {"tokens": tmp_path / "short"}
    whole, apart = (
        stored(run_component, given, packing=packing)[0].read(0)[0].astype(float)
        for packing in ("concatenate", "documents")
    )
    np.testing.assert_allclose(whole[:, 0], apart[:, 0], atol=1e-2)
    assert np.abs(whole - apart).max() > 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0.01}, "teacher_logits: the phases read 'docs' .* at most max_epochs = 0.01"),
        ({"mesh": {"data": 3}}, r"mesh of 3 devices \(data 3, fsdp 1"),
    ],
)
def test_what_does_not_fit_is_named(
    run_component: Any, inputs: dict[str, Path], settings: dict[str, Any], message: str
) -> None:
    """Passes over a source, and devices."""
    with pytest.raises(ComponentError, match=message):
        run_component("teacher_logits", ORDER | settings, inputs)
