"""Strict dtype promotion for every test of the model: a float64 or int64 that slips in is an error."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest

from millrace.model.network import decoder
from millrace.model.network.config import ModelConfig
from millrace.model.network.decoder import Decoder


@pytest.fixture(autouse=True)
def strict_promotion() -> Iterator[None]:
    """JAX raises where it would silently widen a dtype."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs() -> Iterator[None]:
    """Frees the programs that a test file compiled: together, those of all files take gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def small_config() -> ModelConfig:
    """Two layers, four query heads on two key-value heads."""
    return ModelConfig(
        vocab_size=64,
        layers=2,
        model_size=32,
        heads=4,
        kv_heads=2,
        head_size=8,
        feed_forward_size=48,
        max_sequence_tokens=64,
    )


@pytest.fixture(scope="session")
def small_decoder(small_config: ModelConfig) -> Decoder:
    """A decoder that no test may change."""
    return decoder.create(small_config, 0)
