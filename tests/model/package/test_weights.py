"""Weights come back as they were saved, in the same bytes, and only into the shape they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder
from millrace.model.package import weights


def test_saving_is_exact_and_stable(
    tmp_path: Path, small_config: ModelConfig, small_decoder: Decoder
) -> None:
    """Load gives the same tensors, and saving those gives the same files."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    weights.save(tmp_path / "first", small_config, small_decoder)
    config, decoder = weights.load(tmp_path / "first")
    weights.save(tmp_path / "second", config, decoder)
    assert config == small_config
    expected = weights.tensors(small_decoder)
    assert all(np.array_equal(value, expected[name]) for name, value in weights.tensors(decoder).items())
    assert expected["layers.attention.query"].shape == (2, 32, 4, 8)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_weights_of_another_shape_are_refused(
    tmp_path: Path, small_config: ModelConfig, small_decoder: Decoder
) -> None:
    """A config that does not fit its weights names the tensor; missing and left-over tensors, too."""
    weights.save(tmp_path, replace(small_config, feed_forward_size=40), small_decoder)
    with pytest.raises(ValueError, match=r"feed_forward.* has shape \(2, .*, the config expects"):
        weights.load(tmp_path)
    values = weights.tensors(small_decoder)
    embedding = values.pop("embedding")
    decoder = nnx.clone(small_decoder)
    with pytest.raises(ValueError, match=r"lack .*embedding"):
        weights.fill(decoder, values)
    with pytest.raises(ValueError, match=r"unknown tensors .*head"):
        weights.fill(decoder, {**values, "embedding": embedding, "head": embedding})
